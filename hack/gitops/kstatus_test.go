package gitops

import (
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type kstatusTests struct {
	Tests []struct {
		InputPath string        `json:"inputPath"`
		Status    status.Status `json:"status"`
	} `json:"tests"`
}

func expectedKstatus(t *testing.T, kind string) map[string]status.Status {
	t.Helper()
	file := kstatusTests{}
	parse(t, filepath.Join(folder(kind), "kstatus_test.yaml"), &file)
	expected := map[string]status.Status{}
	for _, test := range file.Tests {
		expected[strings.TrimSuffix(filepath.Base(test.InputPath), ".yaml")] = test.Status
	}
	return expected
}

func TestKstatusReadsEveryFixtureAsIntended(t *testing.T) {
	for _, kind := range kinds {
		expected := expectedKstatus(t, kind)
		names := fixtures(t, kind)
		if len(names) != len(expected) {
			t.Errorf("%s has %d fixtures, and %d are in kstatus_test.yaml", kind, len(names), len(expected))
		}
		for _, name := range names {
			result, err := status.Compute(fixture(t, kind, name))
			if err != nil {
				t.Errorf("%s/%s: %v", kind, name, err)
			} else if result.Status != expected[name] {
				t.Errorf("%s/%s: wanted %s, have %s (%s)", kind, name, expected[name], result.Status, result.Message)
			}
		}
	}
}

// What an API server gives out where no status was written yet has to differ from what is done
// (fluxcd/flux2#4346): its default in the definition says that no generation was seen.
func TestKstatusWouldTakeAResourceWithoutTheDefaultForDone(t *testing.T) {
	for _, kind := range kinds {
		resource := fixture(t, kind, "progressing_unseen")
		delete(resource.Object, "status")
		result, err := status.Compute(resource)
		if err != nil || result.Status != status.CurrentStatus {
			t.Fatalf("%s: %v, %v: kstatus has learnt it, and the default of status is needless", kind, result, err)
		}
	}
}
