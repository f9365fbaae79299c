//! Registries: the OCI distribution protocol, as a client.
//!
//! Manifests and blobs come from a repository and go to one, whoever serves it: mirrors, credentials, certificates,
//! retries and redirects are settled here. Nothing here knows the store: bytes are handed to whoever asked for them, and
//! what they are is checked against their digest.
