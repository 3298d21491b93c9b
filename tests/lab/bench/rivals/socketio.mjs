// Socket.IO with its Redis adapter: node socketio.mjs PORT REDIS_URL. It stores nothing.
import { createServer } from "node:http"
import { createAdapter } from "@socket.io/redis-adapter"
import { createClient } from "redis"
import { Server } from "socket.io"

const publisher = createClient({ url: process.argv[3] })
const subscriber = publisher.duplicate()
await Promise.all([publisher.connect(), subscriber.connect()])

const http = createServer()
const io = new Server(http, {
  adapter: createAdapter(publisher, subscriber),
  transports: ["websocket"],
  perMessageDeflate: false,
})
io.on("connection", (socket) => {
  socket.join("chat")
  socket.on("chat", (text) => io.to("chat").emit("chat", text))
  socket.emit("ready")
})
http.listen(Number(process.argv[2]), "127.0.0.1")
