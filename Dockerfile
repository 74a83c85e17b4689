# What `make image` makes without a container engine, for those who have one:
#
#   docker build --build-arg VERSION=v1 -t dunlin:v1 .
#   docker run -p 1883:1883 dunlin:v1 serve --mqtt-addr :1883 --allow-anonymous

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH VERSION=unknown
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath \
      -ldflags "-s -w -X dunlin/node.release=$VERSION" -o /out/usr/bin/dunlin ./cmd/dunlin \
 && mkdir -p /out/etc/ssl/certs /out/usr/share/doc/dunlin \
 && echo 'dunlin:x:65532:65532:Dunlin:/data:/nonexistent' > /out/etc/passwd \
 && echo 'dunlin:x:65532:' > /out/etc/group \
 && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ \
 && cp LICENSE /out/usr/share/doc/dunlin/ \
 && go version -m /out/usr/bin/dunlin > /out/usr/share/doc/dunlin/modules \
 && mkdir -m 0700 /data

FROM scratch
ARG VERSION=unknown REVISION=unknown SOURCE=
LABEL org.opencontainers.image.title="Dunlin" \
      org.opencontainers.image.description="A clustered MQTT broker" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="$SOURCE"
COPY --from=build /out /
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
ENV PATH=/usr/bin TMPDIR=/data
WORKDIR /
VOLUME /data
EXPOSE 18083 1883 8083 8084 8883
ENTRYPOINT ["/usr/bin/dunlin"]
CMD ["serve"]
