# unisono and unisono-sim, in an image with nothing else in it but the C library.
#
#   docker build --tag unisono:0.1.0 --build-arg COMMIT="$(git rev-parse HEAD)" .
#   docker run --rm --read-only --tmpfs /run unisono:0.1.0 local --logdir /run/mnist

# The image has gcc, for ring; its C library is that of the image below.
FROM docker.io/library/rust:1.95.0-bookworm AS build
# That of the image, and not what rust-toolchain.toml would have rustup fetch.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /unisono
COPY . .
ARG COMMIT
# .cargo/config.toml has the flags; a RUSTFLAGS would replace them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/unisono/target \
    UNISONO_COMMIT="${COMMIT:-}" cargo build --profile dist --locked --package unisono --package unisono-sim --bins && \
    install -D --strip --target-directory=/out target/dist/unisono target/dist/unisono-sim

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/ /usr/local/bin/
COPY scenarios /scenarios
# ps listen at 2222 where TF_CONFIG or the manifests say so; --metrics is asked for.
EXPOSE 2222 9400
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/unisono"]
