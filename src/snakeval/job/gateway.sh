# The gateway: a proxy of ours between the harness and its endpoints. See docs/gateway.md.

gateway_pid='' # of the one that runs
gateway_token=''

# Puts it between the harness and the model, and servers beside it ("name address" each). The keys
# stay in its environment: the harness gets a token of this task. Where it cannot run, the task goes
# without.
begin_gateway() {
    local endpoints entry count=0
    if has_own_network; then
        without_gateway "a container in a network of its own does not reach it"
        return
    fi
    gateway_token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    endpoints=(--endpoint model SNAKEVAL_UPSTREAM ${SNAKEVAL_KEY+SNAKEVAL_KEY})
    (
        export PYTHONSAFEPATH='' SNAKEVAL_UPSTREAM="$endpoint_url" SNAKEVAL_TOKEN="$gateway_token"
        for entry in "$@"; do
            count=$((count + 1))
            export "SNAKEVAL_UPSTREAM_$count=${entry#* }"
            endpoints+=(--endpoint "${entry%% *}" "SNAKEVAL_UPSTREAM_$count")
        done
        exec "$python" -B "$lib/gateway.py" serve --record "$record" --attempt "$number" \
            --token-env SNAKEVAL_TOKEN --port-file "$scratch/gateway" "${endpoints[@]}" \
            --patience "$gateway_patience" ${max_in_flight:+--max-in-flight "$max_in_flight"}
    ) <"$scratch/lifeline" >"$scratch/gateway.log" 2>&1 9>&- &
    gateway_pid=$!
    until [ -s "$scratch/gateway" ]; do
        if ! alive "$gateway_pid"; then
            gateway_pid=''
            without_gateway "$(tail -n 1 "$scratch/gateway.log")"
            return
        fi
        sleep 0.05
    done
    hide_keys
}

# The task goes without, unless it has a budget that only a gateway can keep.
without_gateway() {
    if grep -q '"budget"' "$record/gateway_options.json"; then
        fail "no gateway, which a budget needs: $1"
    fi
    say "no gateway: $1"
}

# The address of an endpoint as the harness gets it: the gateway's, where there is one. Who has no
# key to give shows the token as the first folder of the path.
through_gateway() {
    local path=${2#*://} token=$gateway_token
    if [ -z "$gateway_pid" ]; then
        printf %s "$2"
        return
    fi
    case $path in */*) path=/${path#*/} ;; *) path='' ;; esac
    [ "$1" != model ] || [ "${#gateway_keys[@]}" = 0 ] || token=''
    printf 'http://127.0.0.1:%s%s%s' "$(sed -n "s/^$1 //p" "$scratch/gateway")" \
        "${token:+/$token}" "$path"
}

# The harness gets the token in place of the key. The key stays where this script holds it.
hide_keys() {
    local name entry others=()
    [ "${#gateway_keys[@]}" != 0 ] || return 0
    export SNAKEVAL_GIVEN_TOKEN="$gateway_token"
    secret_names+=(SNAKEVAL_GIVEN_TOKEN)
    for entry in "${passed[@]}"; do
        case " ${gateway_keys[*]} " in
            *" ${entry% *} "*) others+=("${entry% *} SNAKEVAL_GIVEN_TOKEN") ;;
            *) others+=("$entry") ;;
        esac
    done
    passed=("${others[@]}")
}

# What a failed attempt has to say about it.
gateway_trouble() {
    if [ -n "$gateway_pid" ] && ! alive "$gateway_pid"; then
        printf '; the gateway has ended (%s)' "$(tail -n 1 "$scratch/gateway.log")"
    fi
}

# Whether the user has put the container into another network than the host's.
has_own_network() {
    case $runtime in docker | podman) ;; *) return 1 ;; esac
    case " ${extra_args[*]-} " in
        *' --network host '* | *' --network=host '* | *' --net host '* | *' --net=host '*) ;;
        *' --network'[=\ ]* | *' --net'[=\ ]*) return 0 ;;
    esac
    return 1
}
