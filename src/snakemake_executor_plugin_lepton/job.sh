#!/usr/bin/env bash
# What a Lepton job runs: command.sh beside this file, with a time limit, and then its exit code
# into the file `exit`, as the last thing. A start that was ended from outside (stopped, preempted)
# writes none: it is no end of the command, and the service may start the job anew.
#     bash job.sh FOLDER_TO_WORK_IN SECONDS      (0: without a limit)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P) || exit 125
if [ -s "$here/exit" ]; then
    read -r code _ <"$here/exit"
    exit "$code"
fi
cd "$1" || {
    echo "the folder to work in is not in this job: $1" >&2
    exit 125
}
told=''
child=''
on_signal() {
    told=yes
    [ -z "$child" ] || kill -TERM -- "-$child" 2>/dev/null
}
trap on_signal TERM INT HUP
set -m # a group of its own: what the command leaves behind can be ended
if [ "$2" -gt 0 ] && command -v timeout >/dev/null; then
    timeout -k 30 "$2" bash "$here/command.sh" &
else
    bash "$here/command.sh" &
fi
child=$!
set +m
while :; do
    wait "$child"
    code=$?
    # A signal of ours ends `wait` early; so the child is asked.
    kill -0 "$child" 2>/dev/null || break
done
note=''
case $code in
    124 | 137) [ "$2" = 0 ] || [ "$SECONDS" -lt "$2" ] || note=' timeout' ;;
esac
# The command's own shell dies of a TERM at once; a program that it waits for may still be closing
# its work. run.sh needs 20 seconds.
if [ -n "$told$note" ]; then
    since=$SECONDS
    while kill -0 -- "-$child" 2>/dev/null && [ $((SECONDS - since)) -lt 30 ]; do
        sleep 0.2
    done
fi
kill -KILL -- "-$child" 2>/dev/null
[ -z "$told" ] || exit 143
printf '%s%s\n' "$code" "$note" >"$here/.exit" && mv "$here/.exit" "$here/exit"
exit "$code"
