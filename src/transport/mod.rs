//! TLS configuration and the TLS stream over glommio.
