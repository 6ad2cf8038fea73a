# How the harness runs in a container of apptainer: processes of this user, on this network.

check_runtime() { command -v apptainer >/dev/null; }

take_archive() { image=$archive_file; }

start_harness() {
    local options
    # Nothing of the node but what is named; a layer in memory for what the image writes elsewhere.
    options=(--cleanenv --writable-tmpfs --no-mount cwd --pwd /results)
    [ "$mount_home" = yes ] || options+=(--no-home)
    # Adapters on one host would answer each other's requests.
    add_value ADAPTER_PORT "$(attempt port)"
    furnish
    set -m # a process group of its own, which can be ended as a whole
    # shellcheck disable=SC2016 # expanded in the container
    apptainer exec "${options[@]}" "$image" sh -c 'set -- "$(command -v sh)" "$@"
'"$(named)"'
exec "$@"' sh /snakeval/record/command.sh \
        </dev/null >"$scratch/output" 2>&1 9>&- &
    harness_pid=$!
    watch_group
    set +m
}

add_mount() { options+=(--bind "$1:$2${3:+:$3}"); }
# With this prefix a variable reaches the container; on the command line everybody could read it.
add_name() { [ -z "${!1+set}" ] || export "APPTAINERENV_$1=${!1}"; }
add_value() { export "APPTAINERENV_$1=$2"; }
