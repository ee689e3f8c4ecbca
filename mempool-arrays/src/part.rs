//! An array taken apart into the sections that a frame has of it, and put together from them.

use bytemuck::cast_slice;
use mempool_core::{ALIGNMENT, Buffer, Result, Sink, Source, Trust};

use crate::description::{DEPTH_MAX, Kind, Node, Nodes, encode};
use crate::error::ArrayError;
use crate::layout::Layout;
use crate::values::adopt;

/// An array's description, and its buffers in the order of the description; nothing is copied.
#[derive(Debug, Default)]
pub struct Parts<'a> {
    nodes: Vec<Node>,
    /// The name and the logical type that the next node has from its parent.
    next: Option<(String, u64)>,
    sections: Vec<Section<'a>>,
}

/// What one section is made of.
enum Section<'a> {
    Shared(Buffer),
    Bytes(&'a [u8]),
    /// Bytes that are made as they are written: a slice starts in the middle of what it was cut from.
    Made(Box<Make<'a>>),
}

/// Writes a section piece by piece, the same each time.
type Make<'a> = dyn Fn(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> + 'a;

impl std::fmt::Debug for Section<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shared(bytes) => write!(f, "{} shared bytes", bytes.len()),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Made(_) => f.write_str("made as it is written"),
        }
    }
}

impl<'a> Parts<'a> {
    /// Adds the node of a layout that is a group of others, all of as many slots: its `children` follow, each by its own
    /// [`Layout::take_apart`].
    ///
    /// The nodes and sections of other layouts are written by those alone: so whoever reads them back from a pool's own frames
    /// knows who has written them.
    pub fn group(&mut self, slots: usize, children: u32) {
        self.node(Node { children, ..Node::new(Kind::Struct, slots) });
    }

    /// Adds a node; its children follow it.
    pub(crate) fn node(&mut self, mut node: Node) {
        if let Some((name, logical)) = self.next.take() {
            node.name = name;
            node.logical = logical;
        }
        self.nodes.push(node);
    }

    /// Gives the node that comes next, a child of the one before, its name and its logical type.
    pub fn name_next(&mut self, name: &str, logical: u64) {
        self.next = Some((name.to_owned(), logical));
    }

    /// Adds a section that is there, sharing its bytes.
    pub(crate) fn section(&mut self, bytes: Buffer) {
        self.sections.push(Section::Shared(bytes));
    }

    /// Adds a section that is there, in memory of another kind.
    pub(crate) fn bytes(&mut self, bytes: &'a [u8]) {
        self.sections.push(Section::Bytes(bytes));
    }

    /// Adds a section that is made as it is written.
    pub(crate) fn made(
        &mut self,
        make: impl Fn(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> + 'a,
    ) {
        self.sections.push(Section::Made(Box::new(make)));
    }

    /// Writes the description and all sections.
    ///
    /// # Errors
    /// What the sink says, or [`ArrayError::Depth`] for what could not be read again.
    pub(crate) fn write(&self, sink: &mut Sink<'_>) -> Result<()> {
        if depth(&self.nodes) > DEPTH_MAX {
            return Err(ArrayError::Depth { most: DEPTH_MAX }.of::<Node>());
        }
        sink.section(ALIGNMENT)?;
        sink.write(&encode(&self.nodes))?;
        for section in &self.sections {
            sink.section(ALIGNMENT)?;
            match section {
                Section::Shared(bytes) => sink.write_buffer(bytes)?,
                Section::Bytes(bytes) => sink.write(bytes)?,
                Section::Made(make) => make(&mut |bytes| sink.write(bytes))?,
            }
        }
        Ok(())
    }
}

/// How deeply the layouts are nested, each of which stands before its children.
fn depth(nodes: &[Node]) -> u32 {
    let mut deepest = 0;
    // For each level, how many of its nodes are still to come.
    let mut open: Vec<u32> = Vec::new();
    for node in nodes {
        while open.pop_if(|left| *left == 0).is_some() {}
        deepest = deepest.max(u32::try_from(open.len()).unwrap_or(u32::MAX));
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        open.push(node.children);
    }
    deepest
}

/// The same array as another type that has the same layout: buffers are shared, and lengths alone are checked. What
/// starts in the middle of what it was cut from, bits above all, is copied where it must be.
pub(crate) fn convert<B: Layout>(array: &impl Layout) -> Result<B, ArrayError> {
    let mut parts = Parts::default();
    array.take_apart(&mut parts);
    let sections = parts.sections.into_iter().map(Section::into_buffer).collect();
    let from =
        Origin::Memory { nodes: parts.nodes.into_iter(), sections: Vec::into_iter(sections) };
    let mut from = Assembly { from, depth: 0, checked: false };
    let array = B::assemble(&mut from)?;
    from.finish().map(|()| array)
}

impl Section<'_> {
    fn into_buffer(self) -> Buffer {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Bytes(bytes) => adopt(bytes.to_vec()),
            Self::Made(make) => {
                let mut made = Vec::new();
                let outcome = make(&mut |bytes| {
                    made.extend_from_slice(bytes);
                    Ok(())
                });
                outcome.expect("nothing refuses the bytes");
                adopt(made)
            }
        }
    }
}

/// Writes `items` as plain data, a bounded piece at a time.
pub(crate) fn write_items<T: bytemuck::Pod>(
    items: impl Iterator<Item = T>,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    const PIECE: usize = 1024;
    let mut piece: Vec<T> = Vec::with_capacity(PIECE);
    for item in items {
        piece.push(item);
        if piece.len() == PIECE {
            write(cast_slice(&piece))?;
            piece.clear();
        }
    }
    write(cast_slice(&piece))
}

/// Nodes and sections that are read in the order in which they were written.
pub struct Assembly<'a, 's> {
    from: Origin<'a, 's>,
    depth: u32,
    checked: bool,
}

/// Where nodes and sections come from.
enum Origin<'a, 's> {
    Frame { nodes: Nodes, source: &'a mut Source<'s> },
    Memory { nodes: std::vec::IntoIter<Node>, sections: std::vec::IntoIter<Buffer> },
}

impl<'a, 's> Assembly<'a, 's> {
    /// Starts with the description.
    pub(crate) fn start(source: &'a mut Source<'s>) -> Result<Self> {
        let description = source.section()?;
        let nodes = Nodes::decode(description).map_err(ArrayError::of::<Node>)?;
        let checked = source.trust() != Trust::Own;
        Ok(Self { from: Origin::Frame { nodes, source }, depth: 0, checked })
    }

    /// Whether the bytes are to be checked, not only their lengths.
    #[must_use]
    pub(crate) fn is_checked(&self) -> bool {
        self.checked
    }

    /// The next node, whatever it is; it is not taken.
    pub(crate) fn peek(&self) -> Result<Node, ArrayError> {
        match &self.from {
            Origin::Frame { nodes, .. } => nodes.peek(),
            Origin::Memory { nodes, .. } => nodes.as_slice().first().cloned().ok_or_else(no_node),
        }
    }

    /// The next node.
    ///
    /// # Errors
    /// When there is none or it cannot be read.
    pub(crate) fn node(&mut self) -> Result<Node, ArrayError> {
        match &mut self.from {
            Origin::Frame { nodes, .. } => nodes.next(),
            Origin::Memory { nodes, .. } => nodes.next().ok_or_else(no_node),
        }
    }

    /// The slots of the next node, which must be that of a [group](Parts::group) of so many children.
    ///
    /// # Errors
    /// [`ArrayError::Kind`] for another, [`ArrayError::Description`] for one of other children.
    pub fn group(&mut self, children: u32) -> Result<usize, ArrayError> {
        self.expect(Kind::Struct, children).map(|(_, slots)| slots)
    }

    /// The next node, which must be of this kind and have so many children; and its slots.
    ///
    /// # Errors
    /// [`ArrayError::Kind`] for another, [`ArrayError::Description`] for a node that cannot be read.
    pub(crate) fn expect(
        &mut self,
        kind: Kind,
        children: u32,
    ) -> Result<(Node, usize), ArrayError> {
        let node = self.node()?;
        // Who goes on after a refusal has taken a node without its sections, and takes the next array's for other than they are.
        let believed = !std::mem::replace(&mut self.checked, true);
        if node.kind != kind {
            return Err(ArrayError::Kind { expected: kind.into(), found: node.kind.into() });
        }
        if node.children != children {
            let what = format!("{kind} with {} children instead of {children}", node.children);
            return Err(ArrayError::description(what));
        }
        let slots = slots(&node)?;
        self.checked = !believed;
        Ok((node, slots))
    }

    /// The next section.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn section(&mut self) -> Result<Buffer, ArrayError> {
        let section = match &mut self.from {
            Origin::Frame { source, .. } => source.section().ok(),
            Origin::Memory { sections, .. } => sections.next(),
        };
        section.ok_or_else(|| ArrayError::description("a section is missing"))
    }

    /// Reads a child, no deeper than a description may be.
    ///
    /// # Errors
    /// What `read` says, or [`ArrayError::Depth`].
    pub fn child<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, ArrayError>,
    ) -> Result<T, ArrayError> {
        if self.depth == DEPTH_MAX {
            return Err(ArrayError::Depth { most: DEPTH_MAX });
        }
        self.depth += 1;
        let child = read(self);
        self.depth -= 1;
        child
    }

    /// Checks that all nodes were read.
    pub(crate) fn finish(self) -> Result<(), ArrayError> {
        match self.from {
            Origin::Frame { nodes, .. } => nodes.finish(),
            Origin::Memory { nodes, .. } if nodes.as_slice().is_empty() => Ok(()),
            Origin::Memory { .. } => Err(ArrayError::description("more nodes than the array has")),
        }
    }
}

fn no_node() -> ArrayError {
    ArrayError::description("a node is missing")
}

/// The slots of a node as a length in memory.
pub(crate) fn slots(node: &Node) -> Result<usize, ArrayError> {
    // A length above isize::MAX would overflow elsewhere; no buffer has so many slots.
    let slots = usize::try_from(node.slots).ok().filter(|&slots| isize::try_from(slots).is_ok());
    slots.ok_or_else(|| ArrayError::description(format!("{} of {} slots", node.kind, node.slots)))
}

/// Checks that `part` has as many bytes as `slots` need.
pub(crate) fn check_length(
    part: &'static str,
    slots: usize,
    expected: Option<usize>,
    found: &[u8],
) -> Result<(), ArrayError> {
    if expected == Some(found.len()) {
        return Ok(());
    }
    let expected = expected.map_or(u64::MAX, |bytes| bytes as u64);
    Err(ArrayError::Length { part, slots: slots as u64, expected, found: found.len() as u64 })
}

/// Checks that `part` starts where a `T` may lie.
pub(crate) fn check_alignment<T>(part: &'static str, bytes: &[u8]) -> Result<(), ArrayError> {
    let align = align_of::<T>();
    match bytes.as_ptr().addr().is_multiple_of(align) {
        true => Ok(()),
        false => Err(ArrayError::Misaligned { part, align }),
    }
}
