package gitops

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/settings"
	log "github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"
)

const (
	component = "../../manifests/components/argocd"
	patchFile = component + "/argocd-cm.yaml"
	document  = "../../docs/gitops.md"
	namespace = "argocd"
)

var kinds = []string{"RewardModel", "ABExperiment"}

func folder(kind string) string {
	return filepath.Join(component, "resource_customizations/betterai.dev", kind)
}

func updating() bool { return os.Getenv("UPDATE") != "" }

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// parse reads YAML and takes no field that it does not know, so that a misspelt expectation is no test.
func parse(t *testing.T, path string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict(read(t, path), into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// object reads a resource with the types of numbers that a client has: kstatus refuses others.
func object(t *testing.T, path string) *unstructured.Unstructured {
	t.Helper()
	json, err := yaml.YAMLToJSON(read(t, path))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	resource := &unstructured.Unstructured{}
	if err := resource.UnmarshalJSON(json); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return resource
}

// fixtures are the names of all states of a kind, without the ending.
func fixtures(t *testing.T, kind string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder(kind), "testdata/*.yaml"))
	if err != nil || len(files) < 14 {
		t.Fatalf("%s has %d fixtures, at least 14 are wanted (%v)", kind, len(files), err)
	}
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = strings.TrimSuffix(filepath.Base(file), ".yaml")
	}
	return names
}

func fixture(t *testing.T, kind, name string) *unstructured.Unstructured {
	t.Helper()
	return object(t, filepath.Join(folder(kind), "testdata", name+".yaml"))
}

// overrides are what Argo CD makes of the shipped ConfigMap.
func overrides(t *testing.T) map[string]v1alpha1.ResourceOverride {
	t.Helper()
	log.SetLevel(log.ErrorLevel)
	config := corev1.ConfigMap{}
	if err := yaml.UnmarshalStrict([]byte(configMap(t)), &config); err != nil {
		t.Fatal(err)
	}
	config.Namespace = namespace
	config.Labels = map[string]string{"app.kubernetes.io/part-of": "argocd"}
	secret := corev1.Secret{Data: map[string][]byte{"server.secretkey": []byte("k")}}
	secret.Name, secret.Namespace, secret.Labels = "argocd-secret", namespace, config.Labels
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	manager := settings.NewSettingsManager(ctx, fake.NewClientset(&config, &secret), namespace)
	all, err := manager.GetResourceOverrides()
	if err != nil {
		t.Fatal(err)
	}
	return all
}
