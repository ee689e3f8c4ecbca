//! `mempool certs`: certificates of nodes, and the authority that signs them. How they are made is mempool-net's.

use std::{fmt, net::IpAddr, path::Path, str::FromStr};

use mempool_net::{
    NodeName,
    security::{CertificateDirectory, SecurityError, Validity, dns_name},
};
use serde::Serialize;

/// A node, and addresses that its certificate holds besides its name: `node-1` or `node-1=10.0.0.1,10.0.0.2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeArg {
    name: NodeName,
    addresses: Vec<IpAddr>,
}

impl FromStr for NodeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, addresses) = match text.split_once('=') {
            Some((name, addresses)) => (name, addresses.split(',').collect()),
            None => (text, Vec::new()),
        };
        let name = NodeName::new(name).map_err(|error| error.to_string())?;
        let address = |text: &str| {
            text.parse().map_err(|_| format!("{text:?} is no IP address; try {name}=10.0.0.1"))
        };
        let addresses = addresses.into_iter().map(address).collect::<Result<_, _>>()?;
        Ok(Self { name, addresses })
    }
}

/// What was made.
#[derive(Debug, Serialize)]
pub(crate) struct Made {
    directory: String,
    authority: &'static str,
    /// The root that each node needs.
    roots: String,
    days: u32,
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Node {
    name: String,
    dns_name: String,
    addresses: Vec<IpAddr>,
    certificate: String,
    key: String,
}

impl Made {
    /// Makes the certificates of `nodes` in `directory`, and an authority if none is there. Nothing is made if one of them
    /// cannot be.
    ///
    /// # Errors
    /// Two nodes of one name, files that are there, an authority that cannot be used, and what the system refuses.
    pub(crate) fn of(
        directory: &Path,
        nodes: &[NodeArg],
        days: u32,
    ) -> Result<Self, SecurityError> {
        for (at, node) in nodes.iter().enumerate() {
            if nodes.iter().take(at).any(|earlier| earlier.name == node.name) {
                let why = format!("{} is there twice on the command line", node.name);
                return Err(SecurityError::Issue { why });
            }
            CertificateDirectory::check(directory, &node.name)?;
        }
        let validity = Validity::days(days)?;
        let mut certificates = CertificateDirectory::open_or_make(directory)?;
        let authority = if certificates.is_new() { "made" } else { "was there" };
        let mut made = Self {
            directory: directory.display().to_string(),
            authority,
            roots: directory.join("ca.crt").display().to_string(),
            days,
            nodes: Vec::new(),
        };
        for node in nodes {
            let files = certificates.issue(&node.name, &node.addresses, validity)?;
            made.nodes.push(Node {
                name: node.name.to_string(),
                dns_name: dns_name(&node.name),
                addresses: node.addresses.clone(),
                certificate: files.certificate.display().to_string(),
                key: files.key.display().to_string(),
            });
        }
        Ok(made)
    }
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.nodes.iter().map(|node| node.name.len()).max().unwrap_or(0).max(2);
        let pair = |name: &str| format!("{name}.crt, {name}.key");
        let column = pair("").len() + 2 * width;
        writeln!(f, "{}:\n", self.directory)?;
        writeln!(f, "  {:<column$}  the authority, {}", pair("ca"), self.authority)?;
        for node in &self.nodes {
            write!(f, "  {:<column$}  {} for {} days", pair(&node.name), node.dns_name, self.days)?;
            for address in &node.addresses {
                write!(f, ", {address}")?;
            }
            writeln!(f)?;
        }
        write!(
            f,
            "\nGive each node ca.crt, its own .crt and its own .key; keep ca.key away from all of them."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_name_and_addresses() {
        let node: NodeArg = "Node-1=10.0.0.1,::1".parse().unwrap();
        assert_eq!(node.name.as_str(), "node-1");
        assert_eq!(node.addresses.len(), 2);
        assert!("node-1".parse::<NodeArg>().unwrap().addresses.is_empty());
        for bad in ["", "a.b", "-a", "a=", "a=b", "a=10.0.0.1,", "a=10.0.0.1:80"] {
            assert!(bad.parse::<NodeArg>().is_err(), "{bad}");
        }
    }
}
