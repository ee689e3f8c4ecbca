//! The service `Values`: what others may have done with values of this node. Each call works on a value that the caller
//! was given a reference to; a value that nobody was given is not found.

use std::sync::Arc;

use mempool_core::{DRef, Erased, Error, StoreErrorKind};
use tonic::{Request, Response, Status};

use crate::error::Reason;
use crate::identity::GlobalId;
use crate::node::inner::{Inner, malformed, refused};
use crate::node::wire;
use crate::proto;
use crate::proto::values_server::Values;
use crate::security::Operation;

/// How many values one message of a list has.
const LIST_CHUNK: usize = 256;
/// The largest message that describes values.
pub(crate) const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// What answers.
pub(crate) struct ValueCalls(Arc<Inner>);

impl ValueCalls {
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        Self(Arc::clone(inner))
    }

    /// Does something to a value where disk may be waited for.
    async fn on_value<R: Send + 'static>(
        &self,
        id: Option<proto::ValueId>,
        act: impl FnOnce(&Inner, GlobalId, &DRef<Erased>) -> Result<R, Error> + Send + 'static,
    ) -> Result<Response<R>, Status> {
        let id = wire::value_of(id).map_err(malformed)?;
        let value = self.0.kept.get(id).or_else(|| self.0.own_value(id));
        let value = value.ok_or_else(|| no_value(id))?;
        let inner = Arc::clone(&self.0);
        blocking(move || act(&inner, id, &value.erased())).await.map(Response::new)
    }
}

/// Runs what may wait for the disk where it keeps no other call from being answered.
pub(crate) async fn blocking<R: Send + 'static>(
    act: impl FnOnce() -> Result<R, Error> + Send + 'static,
) -> Result<R, Status> {
    match tokio::task::spawn_blocking(act).await {
        Ok(done) => done.map_err(|error| of_pool(&error)),
        Err(panicked) => Err(Status::internal(panicked.to_string())),
    }
}

pub(crate) fn no_value(id: GlobalId) -> Status {
    refused(
        proto::Reason::NoValue,
        proto::Kind::Misuse,
        format!("{id} is no value that others have"),
    )
}

/// An error of the pool as others are told of it.
pub(crate) fn of_pool(error: &Error) -> Status {
    refused(
        wire::reason_message(reason(error)),
        wire::kind_message(error.kind()),
        error.to_string(),
    )
}

fn reason(error: &Error) -> Reason {
    match error {
        Error::Deleted { .. } => Reason::Deleted,
        Error::Discarded { .. } => Reason::Discarded,
        Error::NoName { .. } => Reason::NoName,
        Error::Pinned { .. } => Reason::Pinned,
        Error::NoRoom(_) => Reason::NoRoom,
        Error::TooLarge { .. } => Reason::TooLarge,
        Error::HoldsReferences { .. } => Reason::HoldsReferences,
        Error::WrongCodec { .. } => Reason::WrongCodec,
        Error::Closed => Reason::Closed,
        Error::Store(source) if source.kind == StoreErrorKind::Full => Reason::Full,
        Error::Spill { source, .. } | Error::Retained { source, .. } => self::reason(source),
        _ => Reason::Other,
    }
}

#[tonic::async_trait]
impl Values for ValueCalls {
    async fn describe(
        &self,
        request: Request<proto::DescribeRequest>,
    ) -> Result<Response<proto::DescribeResponse>, Status> {
        self.0.caller(&request, Operation::Resolve)?;
        self.0.describe_for(request.into_inner()).await.map(Response::new)
    }

    async fn find(
        &self,
        request: Request<proto::FindRequest>,
    ) -> Result<Response<proto::DescribeResponse>, Status> {
        self.0.caller(&request, Operation::Resolve)?;
        self.0.find_for(request.into_inner().name).await.map(Response::new)
    }

    async fn announce(
        &self,
        request: Request<proto::AnnounceRequest>,
    ) -> Result<Response<proto::AnnounceResponse>, Status> {
        self.0.caller(&request, Operation::Set)?;
        self.0.announced_by(request.into_inner()).await.map(Response::new)
    }

    async fn send(
        &self,
        request: Request<proto::SendRequest>,
    ) -> Result<Response<proto::SendResponse>, Status> {
        let caller = self.0.caller(&request, Operation::Set)?;
        let caller = caller.ok_or_else(|| malformed("only a node sends references"))?;
        self.0.sent_by(caller, request.into_inner()).await.map(Response::new)
    }

    async fn issue(
        &self,
        request: Request<proto::IssueRequest>,
    ) -> Result<Response<proto::IssueResponse>, Status> {
        self.0.caller(&request, Operation::Claim)?;
        self.0.issue_for(request.into_inner()).map(Response::new)
    }

    async fn stat(
        &self,
        request: Request<proto::StatRequest>,
    ) -> Result<Response<proto::StatResponse>, Status> {
        self.0.caller(&request, Operation::Stat)?;
        self.on_value(request.into_inner().value, |inner, id, value| {
            let info = inner.pool.info(value)?;
            Ok(proto::StatResponse { value: Some(wire::value_message(id, &info)) })
        })
        .await
    }

    type ListStream = Listing;

    async fn list(
        &self,
        request: Request<proto::ListRequest>,
    ) -> Result<Response<Listing>, Status> {
        self.0.caller(&request, Operation::List)?;
        let (sender, receiver) = tokio::sync::mpsc::channel(2);
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            let mut values =
                inner.pool.values().map(|info| wire::value_message(inner.global(info.id), &info));
            loop {
                let values: Vec<_> = values.by_ref().take(LIST_CHUNK).collect();
                // Who asked may be gone.
                if values.is_empty()
                    || sender.blocking_send(proto::ListResponse { values }).is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Listing(receiver)))
    }

    async fn delete(
        &self,
        request: Request<proto::DeleteRequest>,
    ) -> Result<Response<proto::DeleteResponse>, Status> {
        self.0.caller(&request, Operation::Delete)?;
        self.on_value(request.into_inner().value, |inner, _, value| {
            inner.pool.delete(value).map(|()| proto::DeleteResponse {})
        })
        .await
    }

    async fn move_to_disk(
        &self,
        request: Request<proto::MoveToDiskRequest>,
    ) -> Result<Response<proto::MoveToDiskResponse>, Status> {
        self.0.caller(&request, Operation::MoveToDisk)?;
        self.on_value(request.into_inner().value, |inner, _, value| {
            inner.pool.move_to_disk(value).map(|_| proto::MoveToDiskResponse {})
        })
        .await
    }

    async fn copy_to_disk(
        &self,
        request: Request<proto::CopyToDiskRequest>,
    ) -> Result<Response<proto::CopyToDiskResponse>, Status> {
        self.0.caller(&request, Operation::CopyToDisk)?;
        self.on_value(request.into_inner().value, |inner, _, value| {
            inner.pool.copy_to_disk(value).map(|_| proto::CopyToDiskResponse {})
        })
        .await
    }

    async fn save_to_disk(
        &self,
        request: Request<proto::SaveToDiskRequest>,
    ) -> Result<Response<proto::SaveToDiskResponse>, Status> {
        self.0.caller(&request, Operation::SaveToDisk)?;
        let proto::SaveToDiskRequest { value, name } = request.into_inner();
        let id = wire::value_of(value).map_err(malformed)?;
        let value = self.0.kept.get(id).or_else(|| self.0.own_value(id));
        let value = value.ok_or_else(|| no_value(id))?;
        let inner = Arc::clone(&self.0);
        let saved = tokio::task::spawn_blocking(move || inner.save(&value, &name)).await;
        let bytes = saved.unwrap_or_else(|panicked| Err(Status::internal(panicked.to_string())))?;
        Ok(Response::new(proto::SaveToDiskResponse { bytes }))
    }

    async fn set_name(
        &self,
        request: Request<proto::SetNameRequest>,
    ) -> Result<Response<proto::SetNameResponse>, Status> {
        self.0.caller(&request, Operation::Set)?;
        let proto::SetNameRequest { value, name } = request.into_inner();
        self.on_value(value, move |inner, _, value| {
            let before = inner.pool.set_name(&name, value)?;
            Ok(proto::SetNameResponse { replaced: before.is_some() })
        })
        .await
    }

    async fn unname(
        &self,
        request: Request<proto::UnnameRequest>,
    ) -> Result<Response<proto::UnnameResponse>, Status> {
        self.0.caller(&request, Operation::Set)?;
        let name = request.into_inner().name;
        self.0.pool.unname(&name).map_err(|error| of_pool(&error))?;
        Ok(Response::new(proto::UnnameResponse {}))
    }

    async fn names(
        &self,
        request: Request<proto::NamesRequest>,
    ) -> Result<Response<proto::NamesResponse>, Status> {
        self.0.caller(&request, Operation::List)?;
        let names = self.0.pool.names().into_iter().map(|named| proto::Named {
            name: named.name,
            value: Some(self.0.global(named.id).into()),
            value_type: named.value_type,
        });
        Ok(Response::new(proto::NamesResponse { names: names.collect() }))
    }
}

/// The values of a pool, some at a time.
pub(crate) struct Listing(tokio::sync::mpsc::Receiver<proto::ListResponse>);

impl tonic::codegen::tokio_stream::Stream for Listing {
    type Item = Result<proto::ListResponse, Status>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.get_mut().0.poll_recv(context).map(|some| some.map(Ok))
    }
}
