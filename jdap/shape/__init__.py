"""The shape that a depth map shows: its place in millimetres before an assumed camera, normals, meshes."""
