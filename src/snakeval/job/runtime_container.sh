# How the harness runs in a container of `docker` or `podman` ($runtime).

# Inside the container: a watchdog ends everything when the lifeline's writing end is gone.
# shellcheck disable=SC2016 # expanded in the container
in_container='exec 3<&0
(trap "" TERM INT HUP; read -r _ <&3; kill -TERM -1; sleep 5; kill -KILL -1) &
exec sh /results/snakeval/command.sh </dev/null 3<&-'

start_harness() {
    local options name
    options=(-v "$work:/results" -w /results
        -e SNAKEVAL_RESULTS=/results -e "SNAKEVAL_MODEL_ID=$endpoint_model")
    for name in "${passed_names[@]+"${passed_names[@]}"}"; do
        options+=(-e "$name")
    done
    if [ -n "$files" ]; then
        options+=(-v "$files:/snakeval/files:ro" -e SNAKEVAL_FILES=/snakeval/files)
    fi
    case $endpoint_url in
        *://localhost[:/]* | *://127.0.0.1[:/]* | *://\[::1\][:/]*)
            if [ "$(uname -s)" = Darwin ]; then # the engine runs in a virtual machine
                endpoint_url=$(printf %s "$endpoint_url" |
                    sed -E 's#://(localhost|127\.0\.0\.1|\[::1\])#://host.docker.internal#')
            else
                # Adapters on the host's network would answer each other's requests.
                options+=(--network host -e "ADAPTER_PORT=$(attempt port)")
            fi
            ;;
    esac
    options+=(-e "SNAKEVAL_ENDPOINT_URL=$endpoint_url")
    pass_surroundings
    set -m # a group of its own: a Ctrl-C reaches it through this script only
    "$runtime" run -i --init --rm --name "$container" \
        --label "snakeval.run=$run" --label "snakeval.task=$run/$task" \
        --label "snakeval.folder=$folder" \
        "${options[@]}" "${extra_args[@]+"${extra_args[@]}"}" \
        --entrypoint sh "$image" -c "$in_container" \
        <"$scratch/lifeline" >"$scratch/output" 2>&1 9>&- &
    harness_pid=$!
    set +m
}

# The caller's proxies, certificate authorities and Hugging Face cache, if there are any.
pass_surroundings() {
    local name cache
    for name in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
        [ -z "${!name:-}" ] || options+=(-e "$name")
    done
    if [ -n "${SSL_CERT_FILE:-}" ] && [ -f "$SSL_CERT_FILE" ]; then
        options+=(-v "$SSL_CERT_FILE:/snakeval/ca.crt:ro")
        for name in SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE; do
            options+=(-e "$name=/snakeval/ca.crt")
        done
    fi
    cache=${HF_HOME:-${HOME:-/nonexistent}/.cache/huggingface}
    if [ -d "$cache" ]; then
        options+=(-v "$cache:/snakeval/huggingface" -e HF_HOME=/snakeval/huggingface)
    fi
}

stop_harness() {
    local since=$SECONDS told=''
    while still_here && alive "$harness_pid" && [ $((SECONDS - since)) -lt "$GRACE" ]; do
        # Once is enough, but the engine may still be making the container.
        [ -n "$told" ] ||
            ! "$runtime" kill --signal TERM "$container" >/dev/null 2>&1 || told=yes
        sleep 0.2
    done
    still_here && "$runtime" rm -f "$container" >/dev/null 2>&1
    since=$SECONDS
    while alive "$harness_pid" && [ $((SECONDS - since)) -lt 3 ]; do
        sleep 0.2
    done
    kill -KILL "$harness_pid" 2>/dev/null
}

# Whether the containers of this task on this machine are ours to end. Where another start on
# this machine has taken over, it has removed ours, and what runs now is its own.
still_here() { is_mine || [ "$(held host)" != "$(host_id)" ]; }

# Also when the client was killed and the container is still there; and its files become ours.
after_harness() {
    still_here || return 0
    sweep
    [ "$(id -u)" = 0 ] || [ -z "$(find "$work" ! -user "$(id -u)" 2>/dev/null | head -n 1)" ] ||
        "$runtime" run --rm --network none -v "$work:/results" --entrypoint chown "$image" \
            -R "$(id -u):$(id -g)" /results >>"$log" 2>&1 ||
        say "some files in $work belong to another user"
}

# Only called by the holder of the lease: whatever of this task still runs here is left over.
# It waits until the engine has let go of the name, which the next container needs.
sweep() {
    local left since=$SECONDS
    while left=$("$runtime" ps -aq --filter "label=snakeval.task=$run/$task" \
        --filter "label=snakeval.folder=$folder" 2>/dev/null) &&
        [ -n "$left" ] && [ $((SECONDS - since)) -lt 20 ]; do
        # shellcheck disable=SC2086 # a list of ids
        "$runtime" rm -f $left >/dev/null 2>&1 || sleep 0.2
    done
}
