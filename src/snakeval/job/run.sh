# ---------------------------------------------------------------------------------------------
# From here on the script is the same for every task. Bash 3.2 suffices.
# Everything else is the keeper's: lib/job/keeper (docs/architecture.md). It reads the texts above,
# and takes this script's place: it has its process, its signals and its exit code.

SNAKEVAL_HERE=$(dirname "${BASH_SOURCE[0]}")
SNAKEVAL_STARTS=${SNAKEVAL_PYTHON:-$SNAKEVAL_ENVIRONMENT_PYTHON}
if [ ! -x "$SNAKEVAL_STARTS" ]; then
    if [ -n "${SNAKEVAL_LEAD:-}" ]; then # a batch job of ours
        echo "the Python environment $SNAKEVAL_STARTS is not on this node ($(uname -n)):" \
            "it must be on a file system that all nodes see" >&2
        exit 1
    fi
    SNAKEVAL_STARTS=python3
    command -v python3 >/dev/null || {
        echo "there is no python3 on this machine, or in this image ($(uname -n))" >&2
        exit 1
    }
fi
exec "$SNAKEVAL_STARTS" -B "$SNAKEVAL_HERE/../lib/keeper.py" "$SNAKEVAL_HERE/run.sh" "$@"
