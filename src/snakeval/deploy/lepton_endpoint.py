"""`python -m snakeval.deploy.lepton_endpoint` of existing run folders: see `executors.lepton`."""

import sys

from snakeval.executors.lepton.endpoint import main

if __name__ == "__main__":
    sys.exit(main())
