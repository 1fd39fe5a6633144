#!/usr/bin/env bash
# Small enough to forget about.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

resident() { # program: the most MB that a process of it has
    local folder most=0 kilobytes
    for folder in /proc/[0-9]*; do
        [[ $(readlink "$folder/exe" 2>/dev/null) == "/usr/local/bin/$1" ]] || continue
        kilobytes=$(awk '/^VmRSS/ {print $2}' "$folder/status")
        ((kilobytes <= most)) || most=$kilobytes
    done
    echo $((most / 1024))
}

operator=$(resident operator) server=$(resident inference-server)
claim "the operator has at most 50 MB resident ($operator), a server with a demo model 60 ($server)"
((operator > 0 && operator <= 50)) || broken "the operator has $operator MB"
((server > 0 && server <= 60)) || broken "a server has $server MB"
