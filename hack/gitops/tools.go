//go:build tools

package gitops

// The program that e2e/gitops runs is built of the same modules, so that nothing is compiled twice.
import _ "github.com/argoproj/argo-cd/v3/cmd"
