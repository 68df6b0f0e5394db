#!/bin/bash
# Remakes coverage.txt: which program makes which system calls, as strace sees them after the program's first line of output (what
# comes before is the C library's start). Lines `SYSCALL PROGRAM`, sorted. Needs root, gcc and strace.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mkdir "$work/d"
one() {
    local n=$1
    gcc -O1 -static -w -o "$work/$n" "$here/$n.c"
    mkdir "$work/d/$n.d"
    # Some programs behave otherwise under a tracer; only the names of their calls matter here. Their alarm ends them.
    timeout -k 5 60 unshare --net --fork --pid --mount-proc strace -f -qq -s 16 -o "$work/$n.log" "$work/$n" "$work/d/$n.d" >/dev/null 2>&1 </dev/null || true
    awk -v p="$n" '
        /write\(1, "program / { on = 1 }
        on && match($0, /^[0-9]+ +(<\.\.\. )?[a-z_0-9]+[( ]/) {
            s = $0; sub(/^[0-9]+ +(<\.\.\. )?/, "", s); sub(/[( ].*/, "", s)
            if (s !~ /^syscall_/) print s, p
        }' "$work/$n.log" | sort -u >"$work/$n.cov"
}
export -f one; export here work
ls "$here"/*.c | sed 's,.*/,,; s,\.c$,,' | xargs -P "$(nproc)" -I{} bash -euc 'one {}'
sort -u "$work"/*.cov >"$here/coverage.txt"
echo "$(cut -d' ' -f1 "$here/coverage.txt" | sort -u | wc -l) system calls, $(ls "$here"/*.c | wc -l) programs"
