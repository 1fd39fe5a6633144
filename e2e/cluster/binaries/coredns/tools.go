//go:build tools

// Package tools pins coredns for the local cluster.
package tools

import _ "github.com/coredns/coredns"
