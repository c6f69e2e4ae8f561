# The start of a bash context. The shell reads its control socket on descriptor 0, two short lines a turn: `eval "$__b"`, which runs
# the code that lies in the file on descriptor 91, and `__bulkhead_done $? n`, which answers with the exit code and the number of the turn.
# They are two lines so that the answer is given after an interrupt too, which drops the rest of the line that it hits. An empty line says
# that the turn has begun: an interrupt before that would drop what has been read of its lines. No function around the code:
# `declare` in one would make variables local.
PS1= PS2= PS4='+ '
unset HISTFILE PROMPT_COMMAND
set +H +m +o history
shopt -u checkwinsize
trap - INT
exec 2>&92 92>&-
__bulkhead_last=0
__bulkhead_status() { return "$__bulkhead_last"; }
__bulkhead_done() {
  __bulkhead_last=$1
  printf '%d %d\n' "$1" "$2" >&90
}
# An interactive shell announces its exit on stderr.
exit() { builtin exit "$@" 2> /dev/null; }
__b='echo >&90
mapfile -d "" -t __bulkhead_code < /proc/self/fd/91
__bulkhead_status
eval "${__bulkhead_code[0]}" < /dev/null 90>&- 91>&-'
