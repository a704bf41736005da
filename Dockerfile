# Two steps: build a static binary, then put it beside the certificates of the public CAs and nothing
# else. There is no shell and no package manager in the image; it runs as a user without a name.
#
# Both base images are arguments, so that a company can take its own, and so that test/ci/image.sh can
# run these very steps where no image can be pulled.
ARG GO_IMAGE=docker.io/library/golang:1.26-bookworm

# The compiler runs on the machine that builds and compiles for the one that runs: nothing is emulated.
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
# The modules come first: they change less often than the code, and stay cached.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
ARG TARGETOS
ARG TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /out/gatehouse ./cmd/gatehouse
# What the last step copies: the data folder with its owner, for scratch has no mkdir.
RUN mkdir -p /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/gatehouse /gatehouse
COPY --from=build --chown=65532:65532 /out/data /data
# A number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 65532:65532
# The configuration is named for every command, so that ping and `docker exec … /gatehouse session ls`
# read what serve reads.
ENV GATEHOUSE_CONFIG=/etc/gatehouse/config.yaml GATEHOUSE_STORE_DIR=/data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/gatehouse", "ping"]
ENTRYPOINT ["/gatehouse"]
CMD ["serve"]
