"""OpenAI's images API over HTTP, on top of the Triton model `image_generation_stream`.

    request ── middleware       id, clock, body limit, log line, errors that nobody else caught
                └─ app          which endpoint; reads the body (body, form, json_body) into its fields
                    ├─ auth, concurrency      whose API key, and how many requests of it at a time
                    ├─ fields, images_request OpenAI's fields and ours, to the tensors that Triton gets
                    ├─ images_response        runs the request; cancels it when the client disconnects
                    │   └─ triton_images      the tensors over one gRPC stream, and its events back
                    ├─ admin                  for administrators: the model sleeps and wakes
                    └─ response_bodies, sse   OpenAI's shapes: one JSON object, or a stream of events

Everything runs on one event loop; pixels are never decoded here, images are passed on as they came.
"""
