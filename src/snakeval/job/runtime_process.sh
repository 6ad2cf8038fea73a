# How the harness runs without a container: from the environment, or inside its own image.

check_runtime() { :; } # a missing program is told by the shell that looks for it
take_archive() { :; }

start_harness() {
    local cache
    cache=$(hf_cache)
    # A home that cannot be written has no cache; without one, no dataset can be loaded.
    if [ -z "$cache" ] && [ -z "${HF_HOME:-}" ] && [ ! -w "${HOME:-/nonexistent}" ]; then
        cache=$run_dir/.cache/huggingface
        say "no home folder to write to: datasets are kept in $cache"
    fi
    [ -z "$cache" ] || export HF_HOME="$cache"
    PATH="$(dirname "$python"):$PATH"
    export PATH SNAKEVAL_RESULTS="$work" SNAKEVAL_RECORD="$record" SNAKEVAL_FILES="$files"
    export SNAKEVAL_ENDPOINT_URL="$endpoint_url" SNAKEVAL_MODEL_ID="$endpoint_model"
    ADAPTER_PORT=$(attempt port) # adapters on one host would answer each other's requests
    export ADAPTER_PORT
    set -m # a process group of its own, which can be ended as a whole
    # shellcheck disable=SC2086 # lists of names
    (cd "$work" && launch_as PATH HF_HOME ADAPTER_PORT NO_PROXY no_proxy $ca_names \
        SNAKEVAL_RESULTS SNAKEVAL_RECORD SNAKEVAL_FILES SNAKEVAL_ENDPOINT_URL SNAKEVAL_MODEL_ID \
        -- "$(command -v sh)" "$record/command.sh") </dev/null >"$scratch/output" 2>&1 9>&- &
    harness_pid=$!
    watch_group
    set +m
}
