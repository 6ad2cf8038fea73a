# How the server runs on Kubernetes: a Deployment behind a Service. This machine creates, watches and
# deletes them; what Kubernetes says of its readiness is its health. The server's command above is
# what they are: it names Secrets and holds none.

supervision=(--health-is-told)

serve() {
    server_command >"$here/endpoint_spec.json" || exit 1
    PYTHONSAFEPATH='' exec "$python" -B -m snakeval.executors.kubernetes.endpoint "$here"
}

address() { cat "$here/address" 2>/dev/null; }

# A Deployment that a dead start has left is taken over by `serve`; `kill` deletes it.
sweep() { rm -f "$here/address"; }
