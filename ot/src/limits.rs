//! How large an operation and a document may be.

/// Limits on one operation and on the document it makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Components of one operation.
    pub components: usize,
    /// UTF-16 code units of a document.
    pub document_units: u32,
    /// Encoded bytes of a rich document's attributes and embeds, and four for each run.
    pub rich_bytes: usize,
    /// Attributes of one component.
    pub attributes: usize,
    /// Encoded bytes of one attribute, key and value.
    pub attribute_bytes: usize,
    /// How deep arrays and objects nest in an attribute or embed.
    pub depth: usize,
    /// Encoded bytes of one embed.
    pub embed_bytes: usize,
}

impl Limits {
    /// For reading a whole document, which has as many components as it has runs.
    pub fn of_document(&self) -> Limits {
        Limits {
            components: self.document_units as usize,
            ..self.clone()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            components: 10_000,
            document_units: 4 << 20,
            rich_bytes: 8 << 20,
            attributes: 32,
            attribute_bytes: 256,
            depth: 8,
            embed_bytes: 32 << 10,
        }
    }
}
