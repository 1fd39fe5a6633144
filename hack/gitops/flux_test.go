package gitops

import (
	"context"
	"strings"
	"testing"

	flux "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"sigs.k8s.io/yaml"
)

// Flux has a kstatus of its own, and it reads what Helm and others read.
func TestFluxReadsEveryFixtureAsKstatusDoes(t *testing.T) {
	for _, kind := range kinds {
		expected := expectedKstatus(t, kind)
		for _, name := range fixtures(t, kind) {
			result, err := flux.Compute(fixture(t, kind, name))
			if err != nil || string(result.Status) != string(expected[name]) {
				t.Errorf("%s/%s: wanted %s, have %v, %v", kind, name, expected[name], result, err)
			}
		}
	}
}

// expressions are those of the document.
func expressions(t *testing.T) kustomize.CustomHealthCheck {
	t.Helper()
	for _, block := range strings.Split(string(read(t, document)), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "\n```")
		if !strings.Contains(block, "healthCheckExprs") {
			continue
		}
		manifest := struct {
			Spec struct {
				HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
			} `json:"spec"`
		}{}
		if err := yaml.Unmarshal([]byte(block), &manifest); err != nil || len(manifest.Spec.HealthCheckExprs) != 1 {
			t.Fatalf("%v: %v", manifest, err)
		}
		return manifest.Spec.HealthCheckExprs[0]
	}
	t.Fatalf("%s has no healthCheckExprs", document)
	return kustomize.CustomHealthCheck{}
}

func TestByTheDocumentsExpressionsAPauseIsDoneForFluxAndNothingElseChanges(t *testing.T) {
	check := expressions(t)
	if check.Kind != "RewardModel" {
		t.Fatalf("they are of %s", check.Kind)
	}
	by, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
	if err != nil {
		t.Fatal(err)
	}
	expected := expectedKstatus(t, check.Kind)
	for _, name := range fixtures(t, check.Kind) {
		want := string(expected[name])
		if strings.HasPrefix(name, "suspended_") {
			want = "Current"
		}
		// Flux asks kstatus first for what is being deleted.
		if want == "Terminating" {
			continue
		}
		result, err := by.Evaluate(context.Background(), fixture(t, check.Kind, name))
		if err != nil || string(result.Status) != want {
			t.Errorf("%s: wanted %s, have %v, %v", name, want, result, err)
		}
	}
}
