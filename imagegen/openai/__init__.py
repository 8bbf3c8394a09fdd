"""OpenAI's images API over HTTP, on top of the Triton model `image_generation_stream`.

    request ── edge        id, clock, body limit, log line, what no one else caught
                └─ routes   which endpoint; reads the body (body, multipart) into its fields
                    ├─ auth, limits    whose key, how many at a time
                    ├─ fields          OpenAI's fields and ours, checked: only what is not for Triton to check
                    ├─ triton_call     the tensors over one gRPC stream, its events back; cancelled with the client
                    └─ answers, sse    OpenAI's shapes: one JSON object, or a stream of events

Everything runs on one event loop; pixels are never decoded here, images are passed on as they came.
"""
