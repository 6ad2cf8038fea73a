# What the caller's machine has around it: proxies, certificate authorities, a Hugging Face cache.

readonly proxy_names='HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy'
readonly ca_names='SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE'

# For this script's own questions to the endpoint, for a process, and for a container alike.
take_surroundings() {
    local name direct='localhost,127.0.0.1' ca='' proxy=''
    hide_surroundings
    for name in $proxy_names; do
        [ -z "${!name:-}" ] || proxy=yes
    done
    if [ -n "$proxy" ]; then
        # No proxy knows this machine's own servers. Harnesses with an adapter ask one, too.
        case $endpoint_url in *://\[::1\]*) direct="$direct,::1" ;; esac
        [ "$(uname -s)" != Darwin ] || direct="$direct,host.docker.internal"
        NO_PROXY=$(without_proxy "${NO_PROXY:-${no_proxy:-}}" "$direct")
        no_proxy=$(without_proxy "${no_proxy:-$NO_PROXY}" "$direct")
        export NO_PROXY no_proxy
    fi
    # Each library reads another of these; one that is set is meant for all of them.
    for name in $ca_names; do
        [ -n "$ca" ] || [ ! -f "${!name:-}" ] || ca=${!name}
    done
    for name in $ca_names; do
        [ -z "$ca" ] || [ -n "${!name:-}" ] || export "$name=$ca"
    done
}

# What of it is a secret is kept out of logs: the token of the hub, a proxy's password.
hide_surroundings() {
    local name
    secret_names+=(HF_TOKEN)
    for name in $proxy_names; do
        case ${!name:-} in *@*) secret_names+=("$name") ;; esac
    done
}

# A list of hosts with further ones added; '*' stands for all hosts only when it stands alone.
without_proxy() {
    case ",$1," in
        ',*,' | *",$2,"*) printf %s "$1" ;;
        *) printf %s "${1:+$1,}$2" ;;
    esac
}

# Whether the task's env_vars name a variable: then it is theirs.
is_passed() {
    local name
    for name in "${passed_names[@]+"${passed_names[@]}"}"; do
        [ "$name" != "$1" ] || return 0
    done
    return 1
}

# How a server's container sees that cache.
# shellcheck disable=SC2034 # not every server has a container
case $hf_home in *:ro) hf_mode=:ro ;; *) hf_mode='' ;; esac

# The value that a variable has for what is started: its own, else this machine's.
value_of() {
    local entry
    for entry in "${passed[@]+"${passed[@]}"}"; do
        if [ "${entry% *}" = "$1" ]; then
            entry=${entry#* }
            printf %s "${!entry-}"
            return
        fi
    done
    printf %s "${!1-}"
}

# Text for the shell of a container: gives the variables their names.
named() {
    local entry held
    for entry in "${passed[@]+"${passed[@]}"}"; do
        held=${entry#* }
        # shellcheck disable=SC2016 # expanded in the container
        printf '[ -z "${%s+set}" ] || export %s="$%s"\n' "$held" "${entry% *}" "$held"
        printf 'unset %s\n' "$held"
    done
}

# The same for a process of this machine: it takes this shell's place. First the names of variables
# of this script that it gets as well, then `--`, then its command.
launch_as() {
    local entry words=()
    while [ "$1" != -- ]; do
        words+=(--keep "$1")
        shift
    done
    for entry in "${passed[@]+"${passed[@]}"}"; do
        words+=(--name "${entry% *}=${entry#* }")
    done
    PYTHONSAFEPATH='' exec "$python" -B "$lib/launch.py" --caller "$$" "${words[@]}" "$@"
}

# What no harness and no server needs: what root of a container may do beyond its own files and
# processes, and set-uid programs. `extra_docker_args` come later, and win.
# shellcheck disable=SC2034 # read by the parts for an engine
confined=(--security-opt no-new-privileges)
case " ${extra_args[*]-} " in
    *" --cap-drop"*) ;; # an engine adds after it has dropped: ours would undo what the user says
    *)
        confined+=(--cap-drop ALL)
        for name in CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID; do
            confined+=(--cap-add "$name")
        done
        ;;
esac

absolute() { case $1 in /*) printf %s "$1" ;; *) printf %s "$PWD/$1" ;; esac; }

# The Hugging Face cache to use: as configured, else the caller's if there is one; else nothing.
# A folder that was named is made. ($hf_home: /folder:ro is only read, per-run is this run's own.)
hf_cache() {
    local folder=${hf_home%:ro}
    [ "$folder" != per-run ] || folder=$run_dir/huggingface
    if [ "$hf_home" = no ] || is_passed HF_HOME; then
        return
    fi
    [ -n "$folder" ] || folder=${HF_HOME:-}
    if [ -n "$folder" ]; then
        folder=$(absolute "$folder")
        mkdir -p "$folder" 2>/dev/null
    else
        folder=${HOME:-/nonexistent}/.cache/huggingface
    fi
    [ ! -d "$folder" ] || printf %s "$folder"
}
