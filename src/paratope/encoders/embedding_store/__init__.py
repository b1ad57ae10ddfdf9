"""Per-residue embeddings on disk, so that an encoder runs once per chain, ever."""

from paratope.encoders.embedding_store.caches import (
    CacheEntry,
    cache_folder,
    clear_caches,
    list_caches,
)
from paratope.encoders.embedding_store.store import EmbeddingStore, embedding_key

__all__ = [
    "CacheEntry",
    "EmbeddingStore",
    "cache_folder",
    "clear_caches",
    "embedding_key",
    "list_caches",
]
