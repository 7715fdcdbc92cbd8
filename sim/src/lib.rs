//! The simulator host: Unisono's own nodes on madsim's executor and virtual time.
//!
//! Nothing of the protocol or the arithmetic is written again here.

#[cfg(not(madsim))]
compile_error!(
    "unisono-sim needs `--cfg madsim`, which `.cargo/config.toml` passes; an environment RUSTFLAGS \
     replaces that file's flags, so unset it or add `--cfg madsim` to it"
);
