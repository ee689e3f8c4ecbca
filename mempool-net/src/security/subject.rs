//! Whose a certificate is: its one DNS name, `node-1.mempool`.

use rustls::pki_types::{CertificateDer, DnsName, ServerName};
use webpki::EndEntityCert;

use crate::NodeName;
use crate::security::error::IdentityFault;

/// What follows a node's name in its certificate. No zone of DNS has it; nothing looks it up. As it is one label, no wildcard
/// fits a node: webpki takes none with fewer than two labels behind it.
pub const DNS_SUFFIX: &str = ".mempool";

/// The DNS name that stands in the certificate of `node`.
///
/// ```
/// let node = mempool_net::NodeName::new("node-1")?;
/// assert_eq!(mempool_net::security::dns_name(&node), "node-1.mempool");
/// # Ok::<(), mempool_net::NodeNameError>(())
/// ```
#[must_use]
pub fn dns_name(node: &NodeName) -> String {
    format!("{node}{DNS_SUFFIX}")
}

/// The same, as TLS takes it.
///
/// # Errors
/// None is known: a label with a suffix is a DNS name.
pub(crate) fn server_name(node: &NodeName) -> Result<ServerName<'static>, IdentityFault> {
    let name = DnsName::try_from(dns_name(node));
    name.map(ServerName::DnsName).map_err(|error| IdentityFault::Other(error.to_string()))
}

/// The node that a certificate names. It was verified before; this reads its names alone.
///
/// # Errors
/// [`IdentityFault::Names`] where there is not exactly one DNS name or it is no node's, [`IdentityFault::Damaged`].
pub(crate) fn node_of(certificate: &CertificateDer<'_>) -> Result<NodeName, IdentityFault> {
    let certificate = EndEntityCert::try_from(certificate).map_err(|error| match error {
        webpki::Error::CaUsedAsEndEntity => IdentityFault::Authority,
        _ => IdentityFault::Damaged,
    })?;
    let found: Vec<String> = certificate.valid_dns_names().map(str::to_owned).collect();
    let label = match found.as_slice() {
        // The comparison is exact: what is not in lower case is not what we write.
        [only] => only
            .strip_suffix(DNS_SUFFIX)
            .and_then(|label| NodeName::new(label).ok().filter(|name| name.as_str() == label)),
        _ => None,
    };
    label.ok_or(IdentityFault::Names { found })
}
