package gitops

import (
	"testing"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	argodiff "github.com/argoproj/argo-cd/v3/util/argo/diff"
	"github.com/argoproj/argo-cd/v3/util/argo/normalizers"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// synced is whether Argo CD would call `live` Synced with what Git has.
func synced(t *testing.T, live, git *unstructured.Unstructured, by map[string]v1alpha1.ResourceOverride) bool {
	t.Helper()
	config, err := argodiff.NewDiffConfigBuilder().
		WithDiffSettings(nil, by, false, normalizers.IgnoreNormalizerOpts{}).
		WithTracking("app.kubernetes.io/instance", "annotation").
		WithNoCache().
		Build()
	if err != nil {
		t.Fatal(err)
	}
	result, err := argodiff.StateDiff(live, git, config)
	if err != nil {
		t.Fatal(err)
	}
	return !result.Modified
}

func TestReplicasThatNobodyHasInGitMakeNoDifference(t *testing.T) {
	by := overrides(t)
	git := object(t, "testdata/git.yaml")
	for _, name := range []string{"written-by-operator", "scaled"} {
		if !synced(t, object(t, "testdata/"+name+".yaml"), git, by) {
			t.Errorf("%s is OutOfSync", name)
		}
	}
}

func TestWhatAnAutoscalerWritesIsIgnoredByTheShippedRuleAlone(t *testing.T) {
	by := overrides(t)
	git := object(t, "testdata/git.yaml")
	live := object(t, "testdata/scaled.yaml")
	if err := unstructured.SetNestedField(git.Object, int64(1), "spec", "replicas"); err != nil {
		t.Fatal(err)
	}
	if !synced(t, live, git, by) {
		t.Error("what the autoscaler has written is OutOfSync")
	}
	key := "betterai.dev/RewardModel"
	without := by[key]
	without.IgnoreDifferences = v1alpha1.OverrideIgnoreDiff{}
	by[key] = without
	if synced(t, live, git, by) {
		t.Error("it is Synced without the rule too, which is needless then")
	}
}

func TestAnotherModelInGitIsADifference(t *testing.T) {
	git := object(t, "testdata/git.yaml")
	if err := unstructured.SetNestedField(git.Object, "tiny-reward-v2", "spec", "model", "source", "pvc", "path"); err != nil {
		t.Fatal(err)
	}
	if synced(t, object(t, "testdata/scaled.yaml"), git, overrides(t)) {
		t.Error("Argo CD would not roll it out")
	}
}
