package gitops

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What Git does not own: the operator writes spec.replicas where nobody has, an autoscaler by way of /scale.
const writersOfReplicas = `managedFieldsManagers:
- betterai.dev/rewardmodel
- kube-controller-manager
`

func TestTheConfigMapIsMadeOfTheScripts(t *testing.T) {
	made := configMap(t)
	if updating() {
		if err := os.WriteFile(patchFile, []byte(made), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if string(read(t, patchFile)) != made {
		t.Fatalf("%s is not what the scripts make: run `make gitops UPDATE=1`", patchFile)
	}
}

// A key of argocd-cm for each kind and purpose, as Argo CD reads them.
func configMap(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	text.WriteString(`# Made of resource_customizations by ` + "`make gitops UPDATE=1`" + `. Argo CD's own ConfigMap, what it has besides stays.
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
data:
`)
	for _, kind := range kinds {
		key := func(purpose, value string) {
			fmt.Fprintf(&text, "  resource.customizations.%s.betterai.dev_%s: |\n%s", purpose, kind, indent(4, value))
		}
		key("health", string(read(t, filepath.Join(folder(kind), "health.lua"))))
		key("actions", actions(t, kind))
		if kind == "RewardModel" {
			key("ignoreDifferences", writersOfReplicas)
		}
	}
	return text.String()
}

func actions(t *testing.T, kind string) string {
	t.Helper()
	var text strings.Builder
	at := filepath.Join(folder(kind), "actions")
	text.WriteString("discovery.lua: |\n" + indent(2, string(read(t, at+"/discovery.lua"))))
	text.WriteString("definitions:\n")
	for _, name := range actionNames(t, kind) {
		fmt.Fprintf(&text, "- name: %s\n  action.lua: |\n%s", name, indent(4, string(read(t, filepath.Join(at, name, "action.lua")))))
	}
	return text.String()
}

func actionNames(t *testing.T, kind string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder(kind), "actions/*/action.lua"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no action (%v)", kind, err)
	}
	for i, file := range files {
		files[i] = filepath.Base(filepath.Dir(file))
	}
	return files
}

func indent(by int, text string) string {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		if strings.TrimSpace(line) != "" {
			lines[i] = strings.Repeat(" ", by) + line
		}
	}
	return strings.Join(lines, "")
}
