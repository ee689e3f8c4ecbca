//! `mempool certs`, as a user runs it: what it makes works, what is there stays, and what it refuses it names.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{self, Command, Output},
};

use mempool_net::{
    NodeName,
    security::{Tls, TlsFiles},
};

fn certs(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mempool")).arg("certs").args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A place for a directory that is not there yet; each test has its own name.
fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mempool-certs-{name}-{}", process::id()))
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let named = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    entries.map(named).collect()
}

#[test]
fn what_is_made_is_what_nodes_take() {
    let directory = place("made");
    let dir = directory.to_str().unwrap();
    let output = certs(&["--dir", dir, "node-1", "node-2=10.0.0.2"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    for part in [
        "ca.crt, ca.key",
        "the authority, made",
        "node-2.mempool for 365 days, 10.0.0.2",
        "keep ca.key away",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let made = files(&directory);
    let names: Vec<_> = made.keys().map(String::as_str).collect();
    assert_eq!(names, ["ca.crt", "ca.key", "node-1.crt", "node-1.key", "node-2.crt", "node-2.key"]);
    for name in &names {
        let mode = fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077 == 0, name.ends_with(".key"), "{name}: {mode:o}");
    }
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    for name in ["node-1", "node-2"] {
        let node = NodeName::new(name).unwrap();
        let tls = Tls::from_files(TlsFiles::in_directory(&directory, &node)).unwrap();
        assert_eq!(tls.node(), node);
    }
    // One more of the same authority; what was there is as it was.
    let output = certs(&["--dir", dir, "--json", "--days", "30", "node-3"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["authority"], "was there");
    assert_eq!(
        (&json["nodes"][0]["dns_name"], &json["days"]),
        (&"node-3.mempool".into(), &30.into())
    );
    let after = files(&directory);
    assert!(made.iter().all(|(name, bytes)| after.get(name) == Some(bytes)));
    let node = NodeName::new("node-3").unwrap();
    assert!(Tls::from_files(TlsFiles::in_directory(&directory, &node)).is_ok());
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_is_there_stays_and_is_named() {
    let directory = place("stays");
    let dir = directory.to_str().unwrap();
    assert!(certs(&["--dir", dir, "node-1"]).status.success());
    let before = files(&directory);
    let refused = |arguments: &[&str], code: i32, part: &str| {
        let output = certs(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(part), "{part} in {}", stderr(&output));
        assert_eq!(files(&directory), before, "{arguments:?}");
    };
    // All or none: the new one is not made, either.
    refused(&["--dir", dir, "node-2", "node-1"], 3, "node-1.crt");
    refused(&["--dir", dir, "node-2", "Node-2"], 2, "node-2 is there twice");
    refused(&["--dir", dir, "ca"], 2, "take another name");
    refused(&["--dir", dir, "a.b"], 2, "is no name of a node");
    refused(&["--dir", dir, "node-2=here"], 2, "is no IP address");
    refused(&["--dir", dir, "--days", "0", "node-2"], 2, "--days");
    refused(&["--dir", dir], 2, "NODE");
    refused(&["--dir", &format!("{dir}/none/none"), "node-2"], 3, "none/none");
    // An authority's key that others can read is used by nobody.
    let key = directory.join("ca.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused(&["--dir", dir, "node-2"], 3, "has mode 0644");
    fs::remove_file(&key).unwrap();
    let output = certs(&["--dir", dir, "node-2"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("ca.key"), "half an authority: {}", stderr(&output));
    fs::remove_dir_all(directory).unwrap();
}
