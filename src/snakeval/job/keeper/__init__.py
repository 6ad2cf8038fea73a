"""The keeper: the one process that is resident while a task runs. `run.sh` hands over to it.

    main          the order of things: adopt, lease, work folder, endpoint, harness, check, publish
    by_hand       the harness's command and nothing else
    settings      what `run.sh` says
    job           what all parts know: paths, what is said
    stop          signals, and everything else that stops an attempt
    hold          the lease and its heartbeat, which also watches the disk, the time, the servers
    servers       the servers of the pipeline that the task asks
    variables     what the harness gets of the environment
    surroundings  proxies, certificate authorities, the Hugging Face cache; what a container gets
    prepared      files for the harness, and an empty log
    beside        what runs beside the harness: the demo's endpoint, the gateway (a thread)
    log_filter    the harness's output, on its way into the log
    batch         what a job asks its batch system
    runtime       how a harness is started, stopped and swept: `engine` (docker, podman) with
                  `bridge`, `images`, `ownership` and `commands`; `group`, of which `process`,
                  `apptainer` and `pyxis` are; `runtimes` knows which is which

Standard library only, Python 3.9 or newer. Imports are few, and late where not every task needs
them: each task pays for them once.
"""
