//! Makes certificates: an authority of the cluster's own, and certificates of nodes that it signs.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;

use crate::NodeName;
use crate::security::{SecurityError, pem, subject};

/// Clocks of hosts differ by so much: a certificate is valid from that long before it was made.
const CLOCK_SLACK: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long an authority lasts that is made here.
const AUTHORITY_DAYS: u32 = 3650;
/// The most days that are taken, about a century: dates have an end, too.
const DAYS_MAX: u32 = 36_500;
/// The most bytes of an authority's name. *Source*: RFC 5280, `ub-common-name`.
const NAME_BYTES_MAX: usize = 64;

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its first moment.
    pub from: SystemTime,
    /// Its last.
    pub until: SystemTime,
}

impl Validity {
    /// From an hour ago, as clocks differ, until so many days from now.
    ///
    /// # Errors
    /// [`SecurityError::Issue`] for 0 days, or more than 36,500.
    pub fn days(days: u32) -> Result<Self, SecurityError> {
        let now = SystemTime::now();
        let ends = DAY.checked_mul(days).and_then(|length| now.checked_add(length));
        match (days, now.checked_sub(CLOCK_SLACK), ends) {
            (1..=DAYS_MAX, Some(from), Some(until)) => Ok(Self { from, until }),
            _ => Err(issue(format!("{days} days; it must be 1 to {DAYS_MAX}"))),
        }
    }

    /// Refuses what has no date that a certificate can hold.
    fn check(self) -> Result<Self, SecurityError> {
        let century = DAY.checked_mul(DAYS_MAX).unwrap_or(DAY);
        let near = |time: SystemTime| {
            let now = SystemTime::now();
            let away = time.duration_since(now).or_else(|_| now.duration_since(time));
            away.is_ok_and(|away| away <= century)
        };
        match self.from < self.until && near(self.from) && near(self.until) {
            true => Ok(self),
            false => Err(issue("its time ends before it begins, or is a century away".to_owned())),
        }
    }
}

/// An authority: who has its key can name any node. Keep that off the nodes; they need the certificate alone.
///
/// ```
/// use mempool_net::NodeName;
/// use mempool_net::security::{Authority, Validity};
///
/// let authority = Authority::new("my cluster")?;
/// let kept = (authority.certificate_pem().to_owned(), authority.key_pem());
/// let later = Authority::from_pem(&kept.0, &kept.1)?;
/// let node = NodeName::new("node-2").expect("a label");
/// let issued = later.issue(&node, &["10.0.0.2".parse().unwrap()], Validity::days(365)?)?;
/// assert!(issued.certificate_pem().starts_with("-----BEGIN CERTIFICATE-----"));
/// # Ok::<(), mempool_net::security::SecurityError>(())
/// ```
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

/// A certificate with its private key.
pub struct Issued {
    certificate_pem: String,
    key_pem: String,
}

impl Authority {
    /// A new authority, valid for ten years, with a new key (ECDSA on P-256).
    ///
    /// # Errors
    /// [`SecurityError::Issue`] for a name that is empty, longer than 64 bytes or not printable ASCII.
    pub fn new(name: &str) -> Result<Self, SecurityError> {
        let printable = name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !printable {
            let why = format!(
                "{name:?} is no name of an authority: 1 to {NAME_BYTES_MAX} printable ASCII characters"
            );
            return Err(issue(why));
        }
        let key = KeyPair::generate().map_err(refused)?;
        let params = authority_params(name, Validity::days(AUTHORITY_DAYS)?);
        let certificate_pem = params.self_signed(&key).map_err(refused)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate_pem })
    }

    /// An authority that was made here before.
    ///
    /// # Errors
    /// [`SecurityError::Pem`], and [`SecurityError::Issue`] for a key that is not this certificate's or an authority that
    /// was made elsewhere, whose name has another form.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, SecurityError> {
        let origin = "the authority's certificate";
        let found = pem::certificates(certificate.as_bytes(), origin)?;
        let der = found.first().ok_or_else(|| issue("there is no certificate".to_owned()))?;
        let kept = anchor(der)?;
        let name = common_name(&kept.subject)
            .ok_or_else(|| issue("it was made elsewhere: its name has another form".to_owned()))?;
        let key = KeyPair::from_pem(key).map_err(|error| SecurityError::Pem {
            origin: "the authority's key".to_owned(),
            wanted: "private key",
            detail: Some(error.to_string()),
        })?;
        let params = authority_params(&name, Validity::days(AUTHORITY_DAYS)?);
        // The same name and key make the same subject and public key; else what it signs would not be its own.
        let again = params.self_signed(&key).map_err(refused)?;
        let made = anchor(again.der())?;
        if made.subject != kept.subject
            || made.subject_public_key_info != kept.subject_public_key_info
        {
            return Err(issue("the key is not this certificate's".to_owned()));
        }
        Ok(Self { issuer: Issuer::new(params, key), certificate_pem: certificate.to_owned() })
    }

    /// A certificate and a new key for `node`: its name is the only DNS name, `node-1.mempool`. `addresses` are added, for
    /// tools that check what they connect to; nodes check the name alone. It is good for both ends of a connection.
    ///
    /// # Errors
    /// [`SecurityError::Issue`] for a time that no certificate can have.
    pub fn issue(
        &self,
        node: &NodeName,
        addresses: &[IpAddr],
        validity: Validity,
    ) -> Result<Issued, SecurityError> {
        let validity = validity.check()?;
        let name = Ia5String::try_from(subject::dns_name(node)).map_err(refused)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, node.as_str());
        params.subject_alt_names = vec![SanType::DnsName(name)];
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        params.not_before = validity.from.into();
        params.not_after = validity.until.into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(refused)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(refused)?;
        Ok(Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// The certificate, which each node has among its roots.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key. Who has it can name any node.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key.
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Issued {
    /// The certificate.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key. Who has it is that node.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key.
        f.debug_struct("Issued")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

fn authority_params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = validity.from.into();
    params.not_after = validity.until.into();
    // It signs nodes, and no other authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn anchor<'a>(
    der: &'a CertificateDer<'_>,
) -> Result<rustls::pki_types::TrustAnchor<'a>, SecurityError> {
    webpki::anchor_from_trusted_cert(der).map_err(|error| issue(format!("the authority: {error}")))
}

/// The one common name of a subject, in the form that [`authority_params`] gives it: a set of one attribute, as UTF-8.
fn common_name(subject: &[u8]) -> Option<String> {
    // SET, SEQUENCE, OBJECT IDENTIFIER 2.5.4.3, UTF8String, with lengths below 128 as names are short.
    let (&[0x31, _, 0x30, _, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, bytes], name) =
        subject.split_first_chunk::<11>()?
    else {
        return None;
    };
    let whole = name.len() == usize::from(bytes) && name.len() <= NAME_BYTES_MAX;
    whole.then(|| String::from_utf8(name.to_vec()).ok()).flatten()
}

fn issue(why: String) -> SecurityError {
    SecurityError::Issue { why }
}

fn refused(error: rcgen::Error) -> SecurityError {
    issue(error.to_string())
}
