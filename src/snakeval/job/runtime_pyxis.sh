# How the harness runs in a container of pyxis: a step of this Slurm job (`srun --container-image`).

check_runtime() {
    if [ -z "${SLURM_JOB_ID:-}" ]; then
        printf %s "pyxis runs containers in a Slurm job: sbatch sbatch_$task.sh"
    else
        # No pipe: one that is closed early would count as a failure.
        case $(srun --help 2>&1) in *--container-image*) return 0 ;; esac
        printf %s "srun has no --container-image on this node ($(uname -n)): pyxis is not installed"
    fi
    return 1
}

# In the container. Where srun itself is killed, Slurm closes what it gave this to read: the end of
# the step's own process group. All processes of the user would be the node's, not the container's.
# shellcheck disable=SC2016 # expanded in the container
in_step='exec 3<&0
(trap "" TERM INT HUP; read -r _ <&3; kill -TERM 0; sleep 5; kill -KILL 0) >/dev/null 2>&1 &
set -- "$(command -v sh)" "$@"
'
# shellcheck disable=SC2016 # expanded in the container
in_step_at_last='exec "$@" </dev/null 3<&-'

take_archive() { image=$archive_file; }

start_harness() {
    local options names='' list='' values=()
    options=(--overlap --nodes=1 --ntasks=1 --mpi=none --export=ALL)
    # srun no longer takes this over from the job (since Slurm 22.05).
    [ -z "${SLURM_CPUS_PER_TASK:-}" ] || options+=("--cpus-per-task=$SLURM_CPUS_PER_TASK")
    [ "$mount_home" = yes ] || options+=(--no-container-mount-home)
    # Adapters on one host would answer each other's requests.
    add_value ADAPTER_PORT "$(attempt port)"
    furnish
    set -m # a process group of its own, which can be ended as a whole
    (
        # The image's Python finds its own modules, not this environment's.
        unset PYTHONPATH PYTHONHOME
        export "${values[@]}"
        exec srun "${options[@]}" --container-image "$image" --container-mounts "$list" \
            --container-env "$names" sh -c "$in_step$(named)
$in_step_at_last" sh /snakeval/record/command.sh
    ) <"$scratch/lifeline" >"$scratch/output" 2>&1 9>&- &
    harness_pid=$!
    watch_group
    set +m
}

add_mount() { list=$list${list:+,}$1:$2${3:+:$3}; }
# Named, a variable of the job takes the place of the image's own.
add_name() { [ -z "${!1+set}" ] || names=$names${names:+,}$1; }
add_value() { values+=("$1=$2") names=$names${names:+,}$1; }
