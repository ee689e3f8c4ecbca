//! Credentials: what files they are taken from, what is found wrong with them at the start, and how they change while a node runs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod security;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, SystemTime};

use mempool_core::ErrorKind;
use mempool_net::security::{
    Authority, Connector, Deadlines, IdentityFault, Operation, SecurityError, Tls, TlsFiles,
    Validity,
};
use rcgen::{CustomExtension, ExtendedKeyUsagePurpose, KeyPair};

use security::{Lab, PATIENCE, Paper, Service, Wanted, ask, connect, node, policy, run};

/// A directory with the files of `node-1`.
struct Files {
    directory: PathBuf,
    files: TlsFiles,
}

impl Files {
    fn new(name: &str, lab: &Lab) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("credentials-{name}-{}", process::id()));
        fs::create_dir(&directory).unwrap();
        let files = TlsFiles::in_directory(&directory, &node("node-1"));
        fs::write(&files.roots, lab.authority.certificate_pem()).unwrap();
        let this = Self { directory, files };
        this.write(&lab.paper(Wanted::named(&["node-1.mempool"])));
        this
    }

    fn write(&self, paper: &Paper) {
        fs::write(&self.files.certificate, &paper.chain).unwrap();
        fs::write(&self.files.key, &paper.key).unwrap();
        self.set_mode(0o600);
    }

    fn set_mode(&self, mode: u32) {
        fs::set_permissions(&self.files.key, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self) -> Result<Tls, SecurityError> {
        Tls::from_files(self.files.clone())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // One that stays behind harms no other test, and a panic here would hide the test's own.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn a_private_key_that_others_have_is_refused_by_name() {
    let files = Files::new("modes", &Lab::new());
    assert_eq!(files.load().unwrap().node(), node("node-1"));
    for mode in [0o400, 0o600, 0o700] {
        files.set_mode(mode);
        assert!(files.load().is_ok(), "{mode:o}");
    }
    for mode in [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644, 0o666, 0o777] {
        files.set_mode(mode);
        match files.load().unwrap_err() {
            SecurityError::KeyMode { path, mode: found } => {
                assert_eq!((path, found), (files.files.key.clone(), mode));
            }
            other => panic!("{mode:o}: {other}"),
        }
    }
    // What a link leads to is what counts.
    files.set_mode(0o600);
    let link = files.directory.join("link");
    std::os::unix::fs::symlink(&files.files.key, &link).unwrap();
    let linked = TlsFiles { key: link, ..files.files.clone() };
    assert!(Tls::from_files(linked.clone()).is_ok());
    files.set_mode(0o644);
    assert!(matches!(Tls::from_files(linked).unwrap_err(), SecurityError::KeyMode { .. }));
}

#[test]
fn a_private_key_of_another_user_is_refused_by_name() {
    let files = Files::new("owner", &Lab::new());
    let other = rustix::process::Uid::from_raw(54_321);
    // Only root can give a file away; what everybody can do is to look at one that is another's.
    match rustix::fs::chown(&files.files.key, Some(other), None) {
        Ok(()) => {
            let error = files.load().unwrap_err();
            assert!(matches!(error, SecurityError::KeyOwner { uid: 54_321, .. }), "{error}");
        }
        Err(error) => println!("skipped: {error}, so no file can be another user's"),
    }
}

#[test]
fn files_that_are_none_are_refused_by_name() {
    let files = Files::new("none", &Lab::new());
    let good = files.files.clone();
    let path = files.directory.join("other");
    let with = |what: &str| match what {
        "roots" => TlsFiles { roots: path.clone(), ..good.clone() },
        "certificate" => TlsFiles { certificate: path.clone(), ..good.clone() },
        _ => TlsFiles { key: path.clone(), ..good.clone() },
    };
    for what in ["roots", "certificate", "key"] {
        let error = Tls::from_files(with(what)).unwrap_err();
        assert!(
            matches!(&error, SecurityError::File { path: named, .. } if *named == path),
            "{what}: {error}"
        );
        assert_eq!(error.kind(), ErrorKind::Environment);
    }
    for text in ["", "no PEM", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for what in ["roots", "certificate", "key"] {
            let error = Tls::from_files(with(what)).unwrap_err();
            assert!(
                matches!(&error, SecurityError::Pem { origin, .. } if *origin == path.display().to_string()),
                "{what}: {error}"
            );
        }
    }
    fs::write(&path, vec![b'x'; (1 << 20) + 1]).unwrap();
    assert!(matches!(Tls::from_files(with("roots")).unwrap_err(), SecurityError::File { .. }));
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert!(matches!(Tls::from_files(with("key")).unwrap_err(), SecurityError::File { .. }));
}

#[test]
fn credentials_that_no_peer_would_take_are_found_at_the_start() {
    let lab = Lab::new();
    let hour = Duration::from_secs(3600);
    let now = SystemTime::now();
    let root = lab.authority.certificate_pem().to_owned();
    let good = lab.paper(Wanted::default());
    let fault = |root: &str, paper: &Paper| match Tls::from_pem(root, &paper.chain, &paper.key) {
        Err(SecurityError::Credentials { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    let of = |wanted: Wanted| fault(&root, &lab.paper(wanted));
    let other = Lab::new();
    let expired = Wanted { from: now - 2 * hour, until: now - hour, ..Wanted::default() };
    assert_eq!(of(expired), IdentityFault::Expired);
    let early = Wanted { from: now + hour, until: now + 2 * hour, ..Wanted::default() };
    assert_eq!(of(early), IdentityFault::NotYetValid);
    let names = Wanted::named(&["node-1.mempool", "node-2.mempool"]);
    assert!(matches!(of(names), IdentityFault::Names { .. }));
    for purpose in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth] {
        let one = Wanted { purposes: vec![purpose], ..Wanted::default() };
        assert_eq!(of(one), IdentityFault::Purpose);
    }
    assert_eq!(fault(other.authority.certificate_pem(), &good), IdentityFault::Damaged);
    let stranger = Authority::new("another").unwrap();
    assert_eq!(fault(stranger.certificate_pem(), &good), IdentityFault::Issuer);
    let key = lab.paper(Wanted::default()).key;
    assert_eq!(fault(&root, &Paper { key, ..good.clone() }), IdentityFault::Key);
    let authority = Paper { chain: root.clone(), key: lab.authority.key_pem() };
    assert_eq!(fault(&root, &authority), IdentityFault::Authority);
    // What nobody here knows, and must know to go on.
    let mut params = Wanted::default().params();
    let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999], vec![5, 0]);
    unknown.set_criticality(true);
    params.custom_extensions.push(unknown);
    let key = KeyPair::generate().unwrap();
    let chain = params.signed_by(&key, &lab.issuer).unwrap().pem();
    let strange = Paper { chain, key: key.serialize_pem() };
    assert!(matches!(fault(&root, &strange), IdentityFault::Other(_)));
    let error = Tls::from_pem(&root, &strange.chain, &strange.key).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misuse);
}

#[test]
fn an_authority_is_kept_and_used_again() {
    let authority = Authority::new("kept").unwrap();
    let again = Authority::from_pem(authority.certificate_pem(), &authority.key_pem()).unwrap();
    let address = "10.0.0.1".parse().unwrap();
    let issued = again.issue(&node("node-1"), &[address], Validity::days(1).unwrap()).unwrap();
    let root = authority.certificate_pem();
    let tls = Tls::from_pem(root, issued.certificate_pem(), issued.key_pem()).unwrap();
    assert_eq!(tls.node(), node("node-1"));
    for secret in [format!("{tls:?}"), format!("{authority:?}"), format!("{issued:?}")] {
        assert!(!secret.contains("PRIVATE KEY"), "{secret}");
    }
    let other = Authority::new("kept").unwrap();
    let why = |result: Result<Authority, SecurityError>| match result.unwrap_err() {
        SecurityError::Issue { why } => why,
        other => panic!("{other}"),
    };
    let mixed = Authority::from_pem(root, &other.key_pem());
    assert_eq!(why(mixed), "the key is not this certificate's");
    // A certificate of no authority of ours: another form of name.
    let key = KeyPair::generate().unwrap();
    let mut params = Wanted::default().params();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "others");
    let foreign = params.self_signed(&key).unwrap().pem();
    assert!(why(Authority::from_pem(&foreign, &key.serialize_pem())).contains("elsewhere"));
    assert!(matches!(Authority::from_pem("", ""), Err(SecurityError::Pem { .. })));
    assert!(matches!(Authority::from_pem(root, ""), Err(SecurityError::Pem { .. })));
    for name in ["", "a\nb", "\u{e4}", &"x".repeat(65)] {
        assert!(why(Authority::new(name)).contains("no name of an authority"), "{name:?}");
    }
    for days in [0, 36_501, u32::MAX] {
        assert!(matches!(Validity::days(days), Err(SecurityError::Issue { .. })), "{days}");
    }
    let now = SystemTime::now();
    for (from, until) in [(now, now), (now, SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40))]
    {
        let issued = authority.issue(&node("node-1"), &[], Validity { from, until });
        assert!(matches!(issued, Err(SecurityError::Issue { .. })));
    }
}

#[test]
fn new_credentials_hold_from_the_next_connection_on() {
    run(async {
        let lab = Lab::new();
        let files = Files::new("reload", &lab);
        let tls = files.load().unwrap();
        let service = Service::start(Some(tls.clone()), policy(PATIENCE)).await;
        let connector = Connector::new(Some(lab.tls("node-good")), Deadlines::default());
        let mut before = connect(&connector, service.address, "node-1").await.unwrap();
        assert_eq!(ask(&mut before, Operation::Set).await, Some(true));

        // What is wrong with the new ones leaves the old ones in place.
        files.write(&lab.paper(Wanted::named(&["node-7.mempool"])));
        match tls.reload().unwrap_err() {
            SecurityError::OtherNode { own, found } => {
                assert_eq!((own, found), (node("node-1"), node("node-7")));
            }
            other => panic!("{other}"),
        }
        fs::write(&files.files.certificate, "").unwrap();
        assert!(matches!(tls.reload().unwrap_err(), SecurityError::Pem { .. }));
        let mut still = connect(&connector, service.address, "node-1").await.unwrap();
        assert_eq!(ask(&mut still, Operation::Set).await, Some(true));

        // Another authority: who has the old one's certificate is refused from now on, at both ends.
        let new = Lab::new();
        fs::write(&files.files.roots, new.authority.certificate_pem()).unwrap();
        files.write(&new.paper(Wanted::named(&["node-1.mempool"])));
        tls.reload().unwrap();
        let error = connect(&connector, service.address, "node-1").await.unwrap_err();
        assert!(matches!(error, SecurityError::Identity { .. }), "{error}");
        let connector = Connector::new(Some(new.tls("node-good")), Deadlines::default());
        let mut after = connect(&connector, service.address, "node-1").await.unwrap();
        assert_eq!(ask(&mut after, Operation::Set).await, Some(true));
        // Connections that were open stay.
        assert_eq!(ask(&mut before, Operation::Set).await, Some(true));
    });
}

#[test]
fn a_client_is_told_why_it_was_refused() {
    run(async {
        let (lab, other) = (Lab::new(), Lab::new());
        // The server trusts another authority than the client, and is trusted.
        let paper = lab.paper(Wanted::named(&["node-1.mempool"]));
        let roots =
            format!("{}{}", lab.authority.certificate_pem(), other.authority.certificate_pem());
        let server =
            Tls::from_pem(lab.authority.certificate_pem(), &paper.chain, &paper.key).unwrap();
        let service = Service::start(Some(server), policy(PATIENCE)).await;
        let own = other.paper(Wanted::named(&["node-good.mempool"]));
        let client = Tls::from_pem(&roots, &own.chain, &own.key).unwrap();
        let connector = Connector::new(Some(client), Deadlines::default());
        let mut stream = connect(&connector, service.address, "node-1").await.unwrap();
        let error = tokio::io::AsyncReadExt::read_u8(&mut stream).await.unwrap_err();
        let told = error.get_ref().unwrap().downcast_ref::<SecurityError>().unwrap();
        assert!(
            matches!(told, SecurityError::Identity { fault: IdentityFault::Refused(_), .. }),
            "{told:?}"
        );
        assert_eq!(service.served(), 0);
    });
}
