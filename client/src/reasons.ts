// What a user is told of the codes that they can meet.

/** In words, for the codes that a user can meet (`proto/src/reject.rs`). */
export const REASONS: Record<string, string> = {
  forbidden: "you may not do this",
  not_found: "there is no such document, or it is not shared with you",
  deleted: "the document was deleted",
  erased: "its history is not kept for so long",
  document_full: "the document is as large as it may be",
  origin: "this page may not use that server",
  revoked: "your access was taken away",
  replaced: "the document was opened elsewhere",
  token_invalid: "the access token is not valid",
  token_expired: "the access token has expired",
};

export const FOREIGN_CLIENT = 4413;

export const CLOSE_CODES: Record<number, string> = {
  4414: "forbidden",
  4415: "not_found",
  4416: "deleted",
  4434: "origin",
  4436: "revoked",
  4437: "replaced",
};
