"""HTTP/1.1 with TLS, upgrades, WebSocket and SPDY framing, on both sides; knows no Kubernetes."""
