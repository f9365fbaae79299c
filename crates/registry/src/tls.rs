//! TLS: whom we believe, and how we show who we are.
//!
//! The system's authorities are read once for the command, when the first host is asked over TLS; a host's own files with
//! them. Children of a fork inherit what was read.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::endpoint::Tls;

/// Settings of TLS that were prepared, by what they were prepared from.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    system: OnceLock<Arc<RootCertStore>>,
    by_settings: Mutex<HashMap<Tls, Arc<ClientConfig>>>,
}

impl Prepared {
    /// The settings for a connection. The error is a sentence.
    pub(crate) fn client(&self, tls: &Tls) -> Result<Arc<ClientConfig>, String> {
        let mut known = self.by_settings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get(tls) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(self.prepare(tls)?);
        known.insert(tls.clone(), Arc::clone(&client));
        Ok(client)
    }

    fn prepare(&self, tls: &Tls) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let versions = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = versions.map_err(|error| error.to_string())?;
        let builder = if tls.unverified {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        } else {
            builder.with_root_certificates(self.authorities(tls)?)
        };
        match &tls.identity {
            None => Ok(builder.with_no_client_auth()),
            Some((certificate, key)) => {
                let shown = key.display();
                let chain = certificates(certificate)?;
                let key =
                    PrivateKeyDer::from_pem_file(key).map_err(|error| format!("read the key `{shown}`: {error}"))?;
                let fits = builder.with_client_auth_cert(chain, key);
                fits.map_err(|error| format!("use `{}` with `{shown}`: {error}", certificate.display()))
            }
        }
    }

    fn authorities(&self, tls: &Tls) -> Result<Arc<RootCertStore>, String> {
        let system = Arc::clone(self.system.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            // What cannot be read is not believed; a host whose authority is missing says so.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        }));
        if tls.authorities.is_empty() {
            return Ok(system);
        }
        let mut roots = RootCertStore::clone(&system);
        for path in &tls.authorities {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| format!("read `{}`: {error}", path.display()))?;
            }
        }
        Ok(Arc::new(roots))
    }
}

/// All certificates of a PEM file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |reason: String| format!("read certificates from `{}`: {reason}", path.display());
    let text = fs::read(path).map_err(|error| wrong(error.to_string().to_lowercase()))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let read = read.map_err(|error| wrong(error.to_string()))?;
    if read.is_empty() {
        return Err(wrong("there are none in it".to_owned()));
    }
    Ok(read)
}

/// What a failed handshake means for whoever reads it.
pub(crate) fn reason(error: &rustls::Error) -> String {
    let certificate = match error {
        rustls::Error::InvalidMessage(_) => {
            return "it does not speak TLS; if it is meant not to, configure it as insecure".to_owned();
        }
        rustls::Error::InvalidCertificate(certificate) => certificate,
        rustls::Error::AlertReceived(alert) => return format!("it refuses TLS ({alert:?})"),
        other => return other.to_string(),
    };
    match certificate {
        CertificateError::UnknownIssuer => {
            "its certificate is from an authority that is not trusted; add that to the system's, or as the host's `ca.crt`"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; is this machine's clock right?"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name"
        }
        _ => return format!("its certificate is not valid ({error})"),
    }
    .to_owned()
}

/// Believes whoever answers, by configuration.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
