"""Makes the environment of `make demo-model` ready; called with its own Python.

The server goes onto the PATH as `serve-smollm2`. IFBench would download two things each time it
runs: a model of spaCy, which it never loads, and NLTK's data, which a package carries.
"""

import shutil
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = Path(sysconfig.get_path("purelib"))
DOWNLOAD = "\ndownload('en_core_web_sm')\n"


def main() -> None:
    server = Path(sys.prefix, "bin", "serve-smollm2")
    server.write_text(f"#!{sys.executable}\n{(HERE / 'serve.py').read_text()}")
    server.chmod(0o755)
    instructions = PACKAGES / "ifbench" / "instructions.py"
    instructions.write_text(instructions.read_text().replace(DOWNLOAD, "\n"))
    data = PACKAGES / "llama_index" / "core" / "_static" / "nltk_cache"
    shutil.copytree(data, Path(sys.prefix, "nltk_data"), dirs_exist_ok=True)


if __name__ == "__main__":
    main()
