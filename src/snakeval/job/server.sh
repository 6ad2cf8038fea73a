# ---------------------------------------------------------------------------------------------
# From here on the script is the same for every server. Bash 3.2 suffices.
#   bash server.sh           keeps the server up until nobody needs it (Ctrl-C ends it)
#   bash server.sh serve     the server alone, in the foreground; it ends when its stdin does
#   bash server.sh address   where the engine has put its port
#   bash server.sh sweep     removes a container of it that was left over

set -uo pipefail
[ -z "$umask" ] || umask "$umask" # execution.file_mode, or a config that holds secrets
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P) || exit 1
run_dir=$(dirname "$(dirname "$here")")
lib=$run_dir/lib
run=$(basename "$run_dir")
# Two copies of a run folder on one machine must not end each other's containers.
folder=$(printf %s "$here" | cksum | cut -d ' ' -f 1)
container="snakeval-$run-server-$deployment-$folder"

python=${SNAKEVAL_PYTHON:-$environment_python}
[ -x "$python" ] || python=python3
tool() { PYTHONSAFEPATH='' "$python" -B "$lib/$1.py" "${@:2}"; }

# Whether a server may know the hub's token: its env_vars name it, or its weights come from there.
knows_hubs_token() { [ "$hf_model" = yes ] || is_passed HF_TOKEN; }

# Mounts that hide the token in a server's own cache (`cache_path`), a line each.
hidden_tokens() {
    local each source file
    ! knows_hubs_token || return 0
    for each in "${mounts[@]+"${mounts[@]}"}"; do
        source=${each%:/cache}
        for file in token stored_tokens; do
            [ "$source" = "$each" ] || [ ! -e "$source/$file" ] ||
                printf '/dev/null:/cache/%s:ro\n' "$file"
        done
    done
}

supervise() {
    set_variables || {
        echo "$deployment: $unset_variables" >&2
        exit 1
    }
    PYTHONSAFEPATH='' exec "$python" -B "$lib/supervise.py" "$here" \
        --digest "$(cksum <"$here/server.sh" | cut -d ' ' -f 1)" \
        --model "$model" --health "$health" --image "$image" --reach "$reach" \
        --idle-timeout "$idle_timeout" --ready-timeout "$ready_timeout" \
        ${any_model:+--any-model} "${supervision[@]}"
}

cd "$start_folder" 2>/dev/null || cd "$here" || exit 1
case ${1:-} in
    '') supervise ;;
    serve)
        set_variables || exit 1
        hide_surroundings
        serve
        ;;
    address) address ;;
    sweep) sweep "${2:-}" ;;
    *)
        sed -n 's/^#   //p' "$here/server.sh" >&2
        exit 2
        ;;
esac
