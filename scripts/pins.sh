# Every version that set-up installs, in one place. Sourced by the other scripts.
TORCH_VERSION=2.11.0
CMAKE_VERSION=4.4.4
NINJA_VERSION=1.13.2
TENSORBOARD_VERSION=2.21.0  # shows a run's curves, and reads them back in a test; nothing that trains needs it

# What scripts/fetch_smollm2.sh gets: the model, and numpy where there is none.
SMOLLM2_VERSION=0.1.2
NUMPY_VERSION=2.4.6

# The peers that fixtures and comparisons are made with; only scripts/setup_peer.sh installs them.
TRL_VERSION=1.16.0
TRANSFORMERS_VERSION=5.23.0
ACCELERATE_VERSION=1.15.0
DATASETS_VERSION=5.2.0
PEFT_VERSION=0.21.2

APT_PACKAGES=(g++ ccache python3 python3-venv libsentencepiece-dev nlohmann-json3-dev libspdlog-dev libgtest-dev
              libgmock-dev libpcre2-dev libseccomp-dev bubblewrap libgmp-dev libmpfr-dev zlib1g-dev)
