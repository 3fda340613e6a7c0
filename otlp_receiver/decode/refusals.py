"""Why a request is refused as a whole, in the words of both decoders."""

from pipelines.ingest import BadRequest


def not_a_request(error: object) -> BadRequest:
    """For bytes that protobuf's parser refuses; `error` is what it says."""
    return BadRequest(f"the body is not an ExportTraceServiceRequest in protobuf: {error}")


def too_many_parts(most: int) -> BadRequest:
    """For a request that takes far more memory parsed than on the wire."""
    return BadRequest(
        f"the request has more than {most} parts (spans, events, links, attributes and their values), the most "
        "that are allowed in one: send smaller batches"
    )


def too_many_spans(most: int) -> BadRequest:
    """For a request of more spans than one table may have."""
    return BadRequest(f"the request has more than {most} spans, the most allowed: send smaller batches")


def too_much_repeated(size_bytes: int, most_bytes: int) -> BadRequest:
    """For a request whose resource and scope attributes, on every row of it, would take too much."""
    return BadRequest(
        f"resource and scope attributes, stored with every span, would take {size_bytes} bytes, "
        f"{most_bytes} are allowed in one request: send fewer spans at once or shorter attributes"
    )


def too_much_text() -> BadRequest:
    """For a request that fills an Arrow column of text beyond its 2 GiB."""
    return BadRequest("the texts of one kind in the request would take more than 2 GiB: send smaller batches")
