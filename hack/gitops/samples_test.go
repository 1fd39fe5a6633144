package gitops

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// documentsOf are the documents of a sample.
func documentsOf(t *testing.T, name string) []string {
	t.Helper()
	return strings.Split(string(read(t, filepath.Join(component, "samples", name))), "\n---\n")
}

// Argo CD's own types take each field of the samples; an API server drops what it does not know.
func TestTheSamplesHaveNoFieldThatArgoCDDoesNotKnow(t *testing.T) {
	for _, text := range documentsOf(t, "application.yaml") {
		application := v1alpha1.Application{}
		if err := yaml.UnmarshalStrict([]byte(text), &application); err != nil || application.Spec.SyncPolicy == nil {
			t.Errorf("%v: %v", application.Name, err)
		}
	}
	for _, text := range documentsOf(t, "applicationset.yaml") {
		set := v1alpha1.ApplicationSet{}
		if err := yaml.UnmarshalStrict([]byte(text), &set); err != nil || set.Spec.Strategy == nil {
			t.Errorf("%v: %v", set.Name, err)
		}
	}
}

func TestAnExperimentComesAWaveAfterTheModelsThatItCompares(t *testing.T) {
	waves := map[string]int{}
	for _, text := range documentsOf(t, "waves.yaml") {
		resource := unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &resource.Object); err != nil {
			t.Fatal(err)
		}
		wave, err := strconv.Atoi(resource.GetAnnotations()["argocd.argoproj.io/sync-wave"])
		if err != nil {
			t.Fatalf("%s: %v", resource.GetName(), err)
		}
		kind := resource.GetKind()
		if before, known := waves[kind]; known && before != wave {
			t.Errorf("%ss are in waves %d and %d", kind, before, wave)
		}
		waves[kind] = wave
	}
	if len(waves) != 3 || waves["ABExperiment"] <= waves["RewardModel"] || waves["PersistentVolumeClaim"] != waves["RewardModel"] {
		t.Errorf("%v", waves)
	}
}
