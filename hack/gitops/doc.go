// Package gitops runs what manifests/components/argocd ships in the programs that will run it: health and
// actions in Argo CD's own Lua VM by way of its own settings, the rule for differences in its own diff, and
// the same objects in kstatus, which Flux and Helm wait by.
//
// The fixtures are live objects, as an API server gave them out, less what names that cluster. It owns no
// rule: what each state is to read as stands beside the fixtures, and in docs/gitops.md.
//
// UPDATE=1 writes what is generated: argocd-cm.yaml, the messages of health_test.yaml, the outputs of
// action_test.yaml. Read the difference before you commit it.
package gitops
