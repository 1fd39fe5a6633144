package gitops

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/health"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// The shape of Argo CD's health_test.yaml.
type healthTests struct {
	Tests []healthTest `json:"tests"`
}

type healthTest struct {
	HealthStatus health.HealthStatus `json:"healthStatus"`
	InputPath    string              `json:"inputPath"`
}

// says is what Argo CD's controller would say, the way it asks.
func says(t *testing.T, by health.HealthOverride, resource *unstructured.Unstructured) health.HealthStatus {
	t.Helper()
	status, err := health.GetResourceHealth(resource, by)
	if err != nil || status == nil {
		t.Fatalf("%s: %v, %v", resource.GetName(), status, err)
	}
	return *status
}

func expectedHealth(t *testing.T, kind string) map[string]health.HealthStatus {
	t.Helper()
	file := healthTests{}
	parse(t, filepath.Join(folder(kind), "health_test.yaml"), &file)
	expected := map[string]health.HealthStatus{}
	for _, test := range file.Tests {
		name := strings.TrimSuffix(filepath.Base(test.InputPath), ".yaml")
		if _, twice := expected[name]; twice {
			t.Fatalf("health_test.yaml of %s has %s twice", kind, name)
		}
		expected[name] = test.HealthStatus
	}
	return expected
}

func TestEveryFixtureHasTheHealthThatItsNameBeginsWith(t *testing.T) {
	by := lua.ResourceHealthOverrides(overrides(t))
	for _, kind := range kinds {
		for _, name := range fixtures(t, kind) {
			status := says(t, by, fixture(t, kind, name))
			if want, _, _ := strings.Cut(name, "_"); !strings.EqualFold(want, string(status.Status)) {
				t.Errorf("%s/%s is %s: %s", kind, name, status.Status, status.Message)
			}
		}
	}
}

func TestHealthIsSaidInTheWordsOfHealthTestYaml(t *testing.T) {
	by := lua.ResourceHealthOverrides(overrides(t))
	for _, kind := range kinds {
		if updating() {
			updateHealth(t, kind, by)
		}
		expected := expectedHealth(t, kind)
		names := fixtures(t, kind)
		if len(names) != len(expected) {
			t.Errorf("%s has %d fixtures, and %d are in health_test.yaml", kind, len(names), len(expected))
		}
		for _, name := range names {
			// Argo CD answers for what is being deleted itself; its own tests ask the script.
			resource := fixture(t, kind, name)
			resource.SetFinalizers(append(resource.GetFinalizers(), "argocd.argoproj.io/hook-finalizer"))
			if status := says(t, by, resource); status != expected[name] {
				t.Errorf("%s/%s: wanted %v, have %v", kind, name, expected[name], status)
			}
		}
	}
}

func updateHealth(t *testing.T, kind string, by health.HealthOverride) {
	t.Helper()
	file := healthTests{}
	for _, name := range fixtures(t, kind) {
		resource := fixture(t, kind, name)
		resource.SetFinalizers(append(resource.GetFinalizers(), "argocd.argoproj.io/hook-finalizer"))
		file.Tests = append(file.Tests, healthTest{says(t, by, resource), fmt.Sprintf("testdata/%s.yaml", name)})
	}
	write(t, filepath.Join(folder(kind), "health_test.yaml"), file)
}

func write(t *testing.T, path string, content any) {
	t.Helper()
	text, err := yaml.Marshal(content)
	if err == nil {
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Objects that no operator wrote: half-written, restored, of another version.
func TestNoObjectMakesTheScriptFail(t *testing.T) {
	by := lua.ResourceHealthOverrides(overrides(t))
	for _, kind := range kinds {
		for _, status := range []string{
			`null`,
			`{}`,
			`{"observedGeneration": 1}`,
			`{"observedGeneration": 1, "conditions": []}`,
			`{"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "Unknown"}]}`,
			`{"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "False", "reason": "Progressing"}]}`,
			`{"observedGeneration": 1, "conditions": [{"type": "Levitating", "status": "True"}]}`,
		} {
			resource := &unstructured.Unstructured{}
			text := fmt.Sprintf(`{"apiVersion": "betterai.dev/v1alpha1", "kind": %q, "metadata": {"name": "x", "generation": 1}, "status": %s}`, kind, status)
			if err := resource.UnmarshalJSON([]byte(text)); err != nil {
				t.Fatal(err)
			}
			if said := says(t, by, resource); said.Status != health.HealthStatusProgressing {
				t.Errorf("%s with status %s is %v", kind, status, said)
			}
		}
	}
}
