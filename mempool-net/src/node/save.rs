//! Values that are saved for others: in the directory of exports, under a name of theirs, never at a path.

use std::io::Write as _;
use std::ops::ControlFlow;

use mempool_core::{Error, Untyped};
use tonic::Status;

use crate::node::inner::{Inner, refused};
use crate::node::values::of_pool;
use crate::proto;
use crate::security::{Existing, ExportError, ExportName};

impl Inner {
    /// Writes the frame of a value to a file of that name, durably and whole; answers its length.
    pub(crate) fn save(&self, value: &Untyped, name: &str) -> Result<u64, Status> {
        let name = ExportName::new(name).map_err(|error| of_export(&error))?;
        let export = self.pool.export(value).map_err(|error| of_pool(&error))?;
        let references = export.references().len();
        if references > 0 {
            // A file would not keep them alive.
            return Err(of_pool(&Error::HoldsReferences { id: value.id(), references }));
        }
        let mut file = self
            .settings
            .exports
            .create(&name, Existing::Keep)
            .map_err(|error| of_export(&error))?;
        let mut written = Ok(());
        let streamed = export.stream(0..export.frame_bytes(), &mut |piece| {
            written = file.write_all(&piece);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let _ = streamed.map_err(|error| of_pool(&error))?;
        written.map_err(|source| of_export(&ExportError::Io { name: name.to_string(), source }))?;
        file.commit().map_err(|error| of_export(&error))?;
        Ok(export.frame_bytes())
    }
}

fn of_export(error: &ExportError) -> Status {
    let kind = crate::node::wire::kind_message(error.kind());
    refused(proto::Reason::Export, kind, error.to_string())
}
