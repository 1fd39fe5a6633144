package gitops

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/argoproj/argo-cd/v3/util/lua"
)

// A row of the document's tables: what is so, Argo CD, kstatus, actions, fixture.
var row = regexp.MustCompile("(?m)^\\| ([^|]+) \\| (\\w+) \\| (\\w+) \\| ([^|]+) \\| `([a-z_]+)` \\|$")

func TestTheTablesOfTheDocumentAreWhatIsSaid(t *testing.T) {
	vm := lua.VM{ResourceOverrides: overrides(t)}
	for _, kind := range kinds {
		_, text, found := strings.Cut(string(read(t, document)), "| "+kind+" | Argo CD |")
		if !found {
			t.Fatalf("%s has no table of %s", document, kind)
		}
		table, _, _ := strings.Cut(text, "\n\n")
		health, kstatus := expectedHealth(t, kind), expectedKstatus(t, kind)
		var told []string
		for _, cells := range row.FindAllStringSubmatch(table, -1) {
			name := cells[5]
			told = append(told, name)
			if cells[2] != string(health[name].Status) || cells[3] != string(kstatus[name]) {
				t.Errorf("%s/%s is %s and %s", kind, name, health[name].Status, kstatus[name])
			}
			enabled, _ := offered(t, vm, fixture(t, kind, name))
			if offers := strings.Join(enabled, ", "); offers != strings.Trim(cells[4], "-") && offers != cells[4] {
				t.Errorf("%s/%s offers %q", kind, name, offers)
			}
		}
		slices.Sort(told)
		if names := fixtures(t, kind); !slices.Equal(told, names) {
			t.Errorf("the table of %s tells of %v, and there are %v", kind, told, names)
		}
	}
}
