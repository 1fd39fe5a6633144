package gitops

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/diff"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const command = "betterai.dev/command"

// The shape of Argo CD's action_test.yaml.
type actionTests struct {
	DiscoveryTests []discoveryTest `json:"discoveryTests"`
	ActionTests    []actionTest    `json:"actionTests"`
}

type discoveryTest struct {
	InputPath string                    `json:"inputPath"`
	Result    []v1alpha1.ResourceAction `json:"result"`
}

type actionTest struct {
	Action             string `json:"action"`
	InputPath          string `json:"inputPath"`
	ExpectedOutputPath string `json:"expectedOutputPath"`
}

func expectedActions(t *testing.T, kind string) actionTests {
	t.Helper()
	file := actionTests{}
	parse(t, filepath.Join(folder(kind), "actions/action_test.yaml"), &file)
	return file
}

// offered are the actions that can be clicked, and all that there are, in order.
func offered(t *testing.T, vm lua.VM, resource *unstructured.Unstructured) (enabled, all []string) {
	t.Helper()
	scripts, err := vm.GetResourceActionDiscovery(resource)
	if err != nil {
		t.Fatal(err)
	}
	found, err := vm.ExecuteResourceActionDiscovery(resource, scripts)
	if err != nil {
		t.Fatalf("%s: %v", resource.GetName(), err)
	}
	for _, action := range found {
		all = append(all, action.Name)
		if !action.Disabled {
			enabled = append(enabled, action.Name)
		}
	}
	slices.Sort(enabled)
	slices.Sort(all)
	return enabled, all
}

func TestEveryStateOffersWhatMakesSenseInIt(t *testing.T) {
	vm := lua.VM{ResourceOverrides: overrides(t)}
	for _, kind := range kinds {
		tested := map[string]bool{}
		for _, test := range expectedActions(t, kind).DiscoveryTests {
			name := strings.TrimSuffix(filepath.Base(test.InputPath), ".yaml")
			tested[name] = true
			var want []string
			for _, action := range test.Result {
				if !action.Disabled {
					want = append(want, action.Name)
				}
			}
			slices.Sort(want)
			enabled, all := offered(t, vm, fixture(t, kind, name))
			if !slices.Equal(enabled, want) {
				t.Errorf("%s/%s: wanted %v, have %v", kind, name, want, enabled)
			}
			if scripts := actionNames(t, kind); !slices.Equal(all, scripts) {
				t.Errorf("%s/%s knows the actions %v, and there are scripts of %v", kind, name, all, scripts)
			}
		}
		for _, name := range fixtures(t, kind) {
			if !tested[name] {
				enabled, _ := offered(t, vm, fixture(t, kind, name))
				t.Errorf("%s/%s is in no discovery test; it offers %v", kind, name, enabled)
			}
		}
	}
}

// acted is what Argo CD would write: its own VM without libraries, as its API server runs it.
func acted(t *testing.T, vm lua.VM, resource *unstructured.Unstructured, name string) *unstructured.Unstructured {
	t.Helper()
	action, err := vm.GetResourceAction(resource, name)
	if err != nil {
		t.Fatal(err)
	}
	impacted, err := vm.ExecuteResourceAction(resource, action.ActionLua, nil)
	if err != nil || len(impacted) != 1 {
		t.Fatalf("%s of %s: %v, %v", name, resource.GetName(), impacted, err)
	}
	return impacted[0].UnstructuredObj
}

var nonce = regexp.MustCompile(`/[0-9]{10}$`)

func TestAnActionWritesTheCommandAndNothingElse(t *testing.T) {
	vm := lua.VM{ResourceOverrides: overrides(t)}
	for _, kind := range kinds {
		tests := expectedActions(t, kind).ActionTests
		for _, name := range actionNames(t, kind) {
			if !slices.ContainsFunc(tests, func(test actionTest) bool { return test.Action == name }) {
				t.Errorf("%s: no test clicks %s", kind, name)
			}
		}
		for _, test := range tests {
			at := filepath.Join(folder(kind), "actions")
			input := object(t, filepath.Join(at, test.InputPath))
			if enabled, _ := offered(t, vm, input); !slices.Contains(enabled, test.Action) {
				t.Errorf("%s: %s is not offered in %s", kind, test.Action, test.InputPath)
			}
			output := acted(t, vm, input, test.Action)
			written := output.GetAnnotations()[command]
			if !nonce.MatchString(written) {
				t.Errorf("%s: %s writes %q, without the time", kind, test.Action, written)
			}
			annotations := output.GetAnnotations()
			annotations[command] = nonce.ReplaceAllString(written, "/0")
			output.SetAnnotations(annotations)
			same(t, input, output, filepath.Join(at, test.ExpectedOutputPath))
		}
	}
}

// same holds an output against the expected one, which has 0 for the time. Lua knows one kind of number,
// so it is Argo CD's diff that compares.
func same(t *testing.T, input, output *unstructured.Unstructured, path string) {
	t.Helper()
	if updating() {
		expected := input.DeepCopy()
		annotations := expected.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[command] = output.GetAnnotations()[command]
		expected.SetAnnotations(annotations)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, expected.Object)
	}
	result, err := diff.Diff(object(t, path), output)
	if err != nil {
		t.Fatal(err)
	}
	if result.Modified {
		t.Errorf("%s: wanted %s\nhave %s", path, result.PredictedLive, result.NormalizedLive)
	}
}
